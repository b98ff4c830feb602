"""Preprocessed data do not change during training: trainings share them, preprocessing locks them exclusively.

This relies on locks of the operating system, which the kernel releases when a process ends, however it ends; see
:mod:`nnunet_ext.processes.run_lock`. Where a file system has none, or the folder cannot be written, there is no
protection.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from nnunet_ext.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ENDING = ".in_use"
# another process has it; a file that is open for reading only, such as another user's, cannot be locked exclusively
BUSY = (errno.EACCES, errno.EAGAIN, errno.EBADF)
_shared: dict[tuple[Path, int], int] = {}  # descriptor by lock file and process, of the data that it trains on
_alone: set[Path] = set()  # lock files of the data that this process preprocesses


def use_data(data: Path) -> None:
    """Keep preprocessed data as they are until :func:`release_data`, or this process ends.

    Args:
        data: Their folder, which need not exist.

    Raises:
        UserError: Another process is preprocessing them.
    """
    file = _lock_file(data)
    if file in _alone or _is_used_here(file):
        return
    try:
        descriptor = _locked(file, shared=True)
    except BlockingIOError as error:
        raise UserError(
            f"{data}: expected data that nobody changes, found a command that is preprocessing them. Wait for it to "
            f"finish."
        ) from error
    if descriptor is not None:
        _shared[file, os.getpid()] = descriptor


@contextlib.contextmanager
def data_alone(data: Path) -> Iterator[None]:
    """``with data_alone(folder):`` preprocess, while no other process trains on the data.

    Raises:
        UserError: Another process does.
    """
    file = _lock_file(data)
    if file in _alone or _is_used_here(file):  # locks belong to processes
        yield
        return
    try:
        descriptor = _locked(file, shared=False)
    except BlockingIOError as error:
        raise UserError(
            f"{data}: expected data that nobody uses, found a training on them, which preprocessing would spoil. Wait "
            f"for it to finish, or stop it."
        ) from error
    _alone.add(file)
    try:
        yield
    finally:
        _alone.remove(file)
        if descriptor is not None:
            file.unlink(missing_ok=True)
            os.close(descriptor)  # which releases it


@atexit.register
def release_data() -> None:
    """Let others preprocess all that this process used; the last one that used data removes their lock file.

    Lock files in the same folders that killed processes have left are removed, too.
    """
    folders = {file.parent for file, _ in _shared}
    while _shared:
        (file, _), descriptor = _shared.popitem()
        _remove_if_unused(file, descriptor)
    for left in {file for folder in folders for file in folder.glob(f".*{ENDING}")} - _alone:
        if (unused := _open(left, shared=False)) is not None:
            _remove_if_unused(left, unused)


def _remove_if_unused(file: Path, descriptor: int) -> None:
    """Remove a lock file that no other process has locked; close it in any case."""
    if _is_still(file, descriptor) and _try_lock(descriptor, shared=False):
        with contextlib.suppress(OSError):
            file.unlink()
    os.close(descriptor)


def _lock_file(data: Path) -> Path:
    data = data.resolve()
    return data.with_name(f".{data.name}{ENDING}")


def _is_used_here(file: Path) -> bool:
    key = file, os.getpid()
    return key in _shared and _is_still(file, _shared[key])


def _locked(file: Path, *, shared: bool) -> int | None:
    """Open and lock a file; None: it cannot be locked here.

    Raises:
        BlockingIOError: Another process has it.
    """
    while (descriptor := _open(file, shared=shared)) is not None:
        if not _try_lock(descriptor, shared=shared):
            os.close(descriptor)
            raise BlockingIOError(file)
        if _is_still(file, descriptor):
            return descriptor
        os.close(descriptor)  # its last user has just removed it
    return None


def _open(file: Path, *, shared: bool) -> int | None:
    """Open a lock file, which may be another user's; None: there can be none here."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        if not shared or not file.is_file():
            return None
        with contextlib.suppress(OSError):
            return os.open(file, os.O_RDONLY)
        return None
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, 0o666)  # others may lock it too, regardless of the umask
    return descriptor


def _try_lock(descriptor: int, *, shared: bool) -> bool:
    """Lock a file; False if that fails. Where there are no locks, everybody may use it."""
    try:
        fcntl.lockf(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in BUSY
    return True


def _is_still(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(file), os.fstat(descriptor))
    except FileNotFoundError:
        return False
