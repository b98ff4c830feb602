"""What ``nnunet_ext doctor`` checks about other packages' trainers, which nnU-Net searches together with ours."""

from __future__ import annotations

import io
import os
import traceback
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

from nnunet_ext import sockets
from nnunet_ext.cli.setup.check import BROKEN_IMPORT, FAIL, OK, WARN, Check
from nnunet_ext.errors import one_line
from nnunet_ext.stock.lookup import class_names, door_folders, nnunet_folder

NAME = "foreign trainers"
OWN_FIRST = f"put our folder first in {sockets.VARIABLE}"


def check_foreign() -> Check:
    """No foreign trainer has a name of ours, and every foreign module can be imported, as nnU-Net imports them all.

    Otherwise nnU-Net does not find ours (folders before ours) or theirs (folders after ours).
    """
    try:
        own, stock = sockets.folder("trainers").resolve(), nnunet_folder() / "training" / "nnUNetTrainer"
        if taken := set(sockets.names("trainers")) & class_names(stock):
            message = f"{stock} also has {', '.join(sorted(taken))} and is searched before ours"
            return Check(NAME, FAIL, message, "remove it from there")
        return next(_problems(own), Check(NAME, OK, "none shadows ours or breaks nnU-Net's look-up"))
    except BROKEN_IMPORT as error:
        return Check(NAME, WARN, f"not checked: {one_line(error)}", "fix the above first")


def _problems(own: Path) -> Iterator[Check]:
    """Yield a problem a folder in nnU-Net's order, so those that concern our trainers come first."""
    before = True
    for folder in door_folders():
        if folder.resolve() == own:
            before = False
            continue
        reason, taken = _search(folder)
        if reason and before:
            message = f"{folder} breaks nnU-Net's look-up and is searched before ours: {reason}"
            yield Check(NAME, FAIL, message, f"{OWN_FIRST}, and correct or remove that module")
        elif reason:
            message = f"{folder} breaks nnU-Net's look-up of trainers in it or in later folders: {reason}"
            yield Check(NAME, WARN, message, "correct or remove that module")
        elif taken and before:
            yield Check(NAME, FAIL, f"{folder} also has {taken} and is searched before ours", OWN_FIRST)
        elif taken:
            message = f"{folder} also has {taken} and is searched after ours, so nnU-Net finds ours"
            yield Check(NAME, WARN, message, "to use the other one, rename it there")


def _search(folder: Path) -> tuple[str, str]:
    """Return why nnU-Net's search of a folder fails, and which names of ours have another class there."""
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    find = partial(recursive_find_python_class, str(folder), current_module=None, cleanup_imports_from_base_folder=True)
    try:
        with redirect_stdout(io.StringIO()):
            find("")  # nowhere to be found: imports every module
            names = class_names(folder).intersection(sockets.names("trainers"))
            taken = [name for name in sorted(names) if _is_foreign(find(name))]
    except (Exception, SystemExit) as error:  # whatever the other package's module raises
        return f"{_module(folder, error)}: {type(error).__name__}: {one_line(error)}", ""
    return "", ", ".join(taken)


def _is_foreign(found: object) -> bool:
    """Return False for a trainer of ours, which a module may import to derive another one from it."""
    return not str(getattr(found, "__module__", "")).startswith("nnunet_ext.")


def _module(folder: Path, error: BaseException) -> str:
    """Return the file of a folder that an error arose in, or has the wrong syntax."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        files.append(error.filename)
    place = os.path.abspath(folder)
    inside = [file for file in files if Path(file).is_relative_to(place)]
    return os.path.relpath(inside[-1], place) if inside else "a module"
