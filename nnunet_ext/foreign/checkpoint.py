"""Checkpoints that came from somebody else: their weights are read, their code is not run.

``torch.load`` with ``weights_only=True`` makes tensors and plain Python values, and calls nothing but what it is told
to admit: here numpy's numbers and arrays (:mod:`nnunet_ext.foreign.admitted_values`), which nnU-Net's checkpoints hold.
"""

from __future__ import annotations

import mmap
import pickle
import re
import struct
import threading
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from nnunet_ext.errors import UserError, one_line
from nnunet_ext.foreign.admitted_values import NotAdmittedError, admitted_values
from nnunet_ext.foreign.asked_names import asked_names
from nnunet_ext.foreign.plain_tensors import check_plain_tensors

ZIP_START = b"PK\x03\x04"
HEADERS = 3  # pickles before the content of a file from before torch 1.6
OTHER_PROTOCOLS = re.compile(rb"\x80[\x03-\x05]")  # how their pickles start; torch.save's default is protocol 2
TRUST = (
    "Only if you know who made the file, add --trust, or write a copy without it: nnunet_ext inspect FILE --trust "
    "--rewrite NEW.pth"
)
BROKEN = (
    *(OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError, MemoryError),
    *(OverflowError, struct.error, pickle.UnpicklingError, zipfile.BadZipFile),
)
_REASON = "WeightsUnpickler error: "  # what torch's long message has before it
_ASKED = re.compile(r"GLOBAL (\S+)")
_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)+")
_BYTEARRAY = (b"cbuiltins\nbytearray\n", b"c__builtin__\nbytearray\n")  # what torch calls, whatever its argument
_one_at_a_time = threading.Lock()  # torch keeps what is admitted for the whole process


def read_foreign_checkpoint(file: str | Path, *, trust: bool = False) -> Any:
    """Read a file of ``torch.save`` without running code: any version of nnU-Net, also from before torch 1.6.

    Args:
        file: The file.
        trust: Unpickle everything that it asks for, which may run code.

    Returns:
        What was saved, tensors on the CPU. Those of a file from torch 1.6 on are mapped into memory: they are read when
        touched, and must be copied before the file is written again.

    Raises:
        UserError: The file is missing or damaged; or, without ``trust``, it asks for anything but tensors, numbers,
            text and containers of them, or a tensor claims more numbers than are stored.

    Example:
        >>> read_foreign_checkpoint("checkpoint_final.pth")["trainer_name"]  # doctest: +SKIP
        'nnUNetTrainer'
    """
    try:
        with Path(file).open("rb") as stream:
            is_zip = stream.read(len(ZIP_START)) == ZIP_START
    except OSError as error:
        raise _damaged(file, error) from error
    if trust:
        return _trusted(file, is_zip)
    sizes = _stored_sizes(file) if is_zip else None
    if _fills_memory(file):
        raise _asks_for(file, "builtins.bytearray", "fill the memory")
    admitted: list[Any] = [(value, name) for name, value in admitted_values().items()]
    options = {"mmap": True} if is_zip else {}
    try:
        with _one_at_a_time, warnings.catch_warnings(), torch.serialization.safe_globals(admitted):
            warnings.simplefilter("ignore", UserWarning)  # of other protocols of pickle
            content = torch.load(file, map_location="cpu", weights_only=True, **options)
    except pickle.UnpicklingError as error:
        raise _refused(file, error, is_zip) from error
    except NotAdmittedError as error:
        raise _asks_for(file, error) from error
    except BROKEN as error:
        raise _damaged(file, error) from error
    check_plain_tensors(content, file, sizes, Path(file).stat().st_size)
    return content


def _trusted(file: str | Path, is_zip: bool) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=False, **({"mmap": True} if is_zip else {}))
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{file}: expected the packages that it was written with, got {one_line(error)!r}. Install them, or use "
            f"nnunet_ext where they are."
        ) from error
    except BROKEN as error:
        raise _damaged(file, error) from error


def _stored_sizes(file: str | Path) -> set[int]:
    """Return the sizes of the tensors' storages in a zip file; torch stores them as they are, one after the other.

    Raises:
        UserError: They are compressed, encrypted or doubled, or are said to be more than the file.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except BROKEN as error:
        raise _damaged(file, error) from error
    found = _irregular(entries, Path(file).stat().st_size)
    if found is not None:
        raise UserError(f"{file}: expected records as torch.save stores them, found {found}. Do not use this file.")
    return {0, *(entry.file_size for entry in entries)}


def _irregular(entries: list[zipfile.ZipInfo], there: int) -> str | None:
    seen: set[str] = set()
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            return f"{entry.filename!r} compressed"
        if entry.flag_bits & 1:
            return f"{entry.filename!r} encrypted"
        if entry.filename in seen:
            return f"{entry.filename!r} twice"
        seen.add(entry.filename)
    claimed = sum(entry.file_size for entry in entries)
    return f"entries of {claimed} bytes in a file of {there}" if claimed > there else None


def _refused(file: str | Path, error: pickle.UnpicklingError, is_zip: bool) -> UserError:
    """Return the refusal of a pickle that torch did not read, with the name of what it asks for."""
    asked = _ASKED.search(str(error))
    names = [asked[1]] if asked is not None else _unknown_names(file, is_zip)
    names = [f"builtins.{name}" if name.isidentifier() else name for name in names]
    if names and _NAME.fullmatch(names[0]):
        return _asks_for(file, names[0])
    after = str(error).partition(_REASON)[2].split("\n")  # torch has the reason on the same line, or two lines below
    reason = next((line.strip() for line in after if line.strip()), one_line(error))
    if reason.startswith("Unsupported operand") and _is_of_other_protocol(file, is_zip):
        return UserError(
            f"{file}: expected a pickle of torch.save's default form, found one of another protocol ({reason}). {TRUST}"
        )
    return _damaged(file, reason)


def _is_of_other_protocol(file: str | Path, is_zip: bool) -> bool:
    with Path(file).open("rb") as stream:
        starts = _pickles(file) if is_zip else [stream.read(2)]
    return any(OTHER_PROTOCOLS.match(start) for start in starts)


def _pickles(file: str | Path) -> list[bytes]:
    """Return the pickles in a zip file, for messages; none if it is damaged."""
    try:
        with zipfile.ZipFile(file) as archive:
            return [archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl")]
    except BROKEN:
        return []


def _fills_memory(file: str | Path) -> bool:
    """Whether a file asks for ``bytearray``, which makes as many bytes as the file says.

    All of the file is searched, since torch and Python can disagree on where in it the pickle is.
    """
    try:
        with Path(file).open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(asked) >= 0 for asked in _BYTEARRAY)
    except BROKEN as error:
        raise _damaged(file, error) from error


def _unknown_names(file: str | Path, is_zip: bool) -> list[str]:
    """Return what a file asks for in ways that torch does not read."""
    if is_zip:
        found = [name for pickled in _pickles(file) for name in asked_names(pickled)]
    else:
        with Path(file).open("rb") as stream:
            found = [name for _ in range(HEADERS + 1) for name in asked_names(stream)]
    known = {*admitted_values(), "collections.OrderedDict"}
    return [name for name in found if name not in known and not name.startswith("torch.")]


def _asks_for(file: str | Path, what: object, may: str = "run code") -> UserError:
    return UserError(
        f"{file}: expected only weights, numbers and text, but it asks for {what}, which may {may}. {TRUST}"
    )


def _damaged(file: str | Path, error: BaseException | str) -> UserError:
    reason = error if isinstance(error, str) else one_line(error)
    return UserError(
        f"{file}: expected an intact checkpoint, but it cannot be read ({reason}). Copy it again, or choose "
        f"another one."
    )
