"""nnU-Net's three folders and what is in them, checked before anything is started."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.data.environment import VARIABLES as VARIABLES
from nnunet_ext.data.environment import check_variables
from nnunet_ext.data.plans_file import read_plans
from nnunet_ext.errors import UserError, nearest
from nnunet_ext.files.json_file import read_json as read_json
from nnunet_ext.processes.run_lock import run_lock

NUMBERS_WAIT = 600.0  # seconds


def folder(variable: str, *, writable: bool = False, new: bool | None = None) -> Path:
    """Return one of nnU-Net's folders.

    Args:
        variable: Its variable.
        writable: Refuse it if nothing can be written there.
        new: Create a missing writable folder if its parent exists; by default all but nnUNet_raw.

    Raises:
        UserError: A variable is wrong or unset, or the folder missing or not writable.
    """
    check_variables()
    value = os.environ.get(variable, "")
    if not value.strip():
        raise UserError(f"{variable}: expected a folder, found the variable unset. export {variable}=/your/folder")
    path = Path(value)
    makes = writable and (variable != "nnUNet_raw" if new is None else new) and path.parent.is_dir()
    if not path.is_dir() and not makes:
        raise UserError(f"{variable}={value}: expected a folder, found none. Create it or correct the variable.")
    if writable:
        check_writable(path, f"{variable}={value}")
    return path


def check_writable(path: Path, named: str) -> None:
    """Make a folder and refuse it if nothing can be written there.

    Raises:
        UserError: It cannot be made or written; ``named`` opens the line.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"{named}: expected a folder that can be written, got {error.strerror!r}. Correct its permissions, free "
            f"space, or choose another."
        ) from error


@contextlib.contextmanager
def numbers_to_oneself(raw: Path) -> Iterator[None]:
    """``with numbers_to_oneself(raw):`` no other command takes a dataset number; another that does so is waited for.

    Raises:
        UserError: It takes too long.
    """
    with run_lock(raw, "making a dataset", wait=NUMBERS_WAIT):
        yield


def dataset(variable: str, name_or_id: str | int) -> Path:
    """Return a dataset's folder inside one of nnU-Net's folders.

    Raises:
        UserError: No such dataset, or several with this number.
    """
    root, text = folder(variable), str(name_or_id)
    present, found = _look_up(root, text)
    if len(found) > 1:
        raise UserError(f"{root}: expected one dataset with number {text}, found {', '.join(found)}. Renumber one.")
    if not found:
        remedy = nearest(text, present) if present else f"{variable} holds no dataset: correct it or add one."
        if variable == "nnUNet_preprocessed" and (raw := if_there("nnUNet_raw")) and (names := _look_up(raw, text)[1]):
            remedy = f"Run nnunet_ext plan_and_preprocess -d {dataset_number(names[0])} first."
        raise UserError(f"{root}: expected dataset {text!r}, found none. {remedy}")
    return root / found[0]


def if_there(variable: str) -> Path | None:
    """Return one of nnU-Net's folders that is only read."""
    value = os.environ.get(variable)
    return Path(value) if value and Path(value).is_dir() else None


def plans(name_or_id: str | int, plans_name: str) -> dict[str, Any]:
    """Return a dataset's plans.

    Raises:
        UserError: There is no plans file of that name.
    """
    place = dataset("nnUNet_preprocessed", name_or_id)
    file = place / f"{plans_name}.json"
    if not file.is_file():
        known = [path.stem for path in place.glob("*.json") if '"configurations"' in path.read_text(errors="replace")]
        remedy = nearest(plans_name, known) if known else f"Run nnunet_ext plan_and_preprocess -d {name_or_id} first."
        raise UserError(f"{file}: expected plans, found no file. {remedy}")
    return read_plans(file)


def _look_up(root: Path, text: str) -> tuple[list[str], list[str]]:
    """Return all datasets of a folder, and those of a name or number."""
    present = sorted(path.name for path in root.glob("Dataset[0-9][0-9][0-9]_*") if path.is_dir())
    by_number = [name for name in present if text.isdecimal() and dataset_number(name) == int(text)]
    wanted = [text] if text.startswith("Dataset") else by_number
    return present, [name for name in wanted if name in present]


@dataclass(frozen=True)
class Folders:
    """nnU-Net's folders.

    Args:
        raw: nnUNet_raw.
        preprocessed: nnUNet_preprocessed, if it exists.
        results: nnUNet_results, if it exists.
    """

    raw: Path
    preprocessed: Path | None = None
    results: Path | None = None

    def datasets(self) -> set[str]:
        """Return the names of all datasets in any of the three."""
        return {
            place.name
            for folder in (self.raw, self.preprocessed, self.results)
            if folder is not None
            for place in folder.glob("Dataset[0-9][0-9][0-9]_*")
            if place.is_dir()
        }

    def check_number(self, name: str, option: str) -> None:
        """Refuse a new dataset whose number, given by ``option``, is taken.

        Raises:
            UserError: It is not free.
        """
        others = sorted(
            other for other in self.datasets() if dataset_number(other) == dataset_number(name) and other != name
        )
        if others:
            raise UserError(
                f"{name}: expected a free number, {others[0]} has it too. Choose another number after {option}."
            )
