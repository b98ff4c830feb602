"""One process at a time in a folder: trainings in a fold's folder, preprocessing of a dataset, a comparison.

Why a lock of the operating system (``fcntl.lockf``) and not a file alone: the kernel releases it when the process ends,
however it ends, so that a killed run blocks nobody; NFS, Lustre and GPFS pass it on to other hosts; and forked workers
do not inherit it, as they would with ``flock``. The text in the file (pid, host, start time) is for messages, for file
systems that have no locks, and for those whose locks do not reach other hosts. (Without locks, two processes that
start within the same few milliseconds can both pass.)
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nnunet_ext.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".nnunet_ext.lock"
# their locks hold for every process that can see the folder; containers have other host names on one kernel
LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "bcachefs", "overlay", "tmpfs", "ramfs")
PARALLEL = ("gpfs", "ceph")  # of clusters, and theirs hold for all hosts
REACHING = {"nfs": "local_lock=none", "nfs4": "local_lock=none", "lustre": "flock"}  # with this mount option only
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
POLL_SECONDS = 0.2
_held: dict[Path, tuple[int, int]] = {}  # descriptor and process that took it, of each folder that this process holds


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, or held it when it died.

    Args:
        pid: Number of the process.
        host: Name of its host.
        process_start: Start of the process in the kernel's ticks; tells it from a later one of the same number.
        since: When it took the lock.
        work: What it does.
    """

    pid: int
    host: str
    process_start: str
    since: str
    work: str

    @classmethod
    def this(cls, work: str) -> Holder:
        """Return this process."""
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        return cls(os.getpid(), socket.gethostname(), _process_start(os.getpid()), since, work)

    @classmethod
    def parse(cls, text: str) -> Holder | None:
        """Read a lock file's text; None: there is none, or it was cut short."""
        with contextlib.suppress(ValueError, TypeError, KeyError):
            content: dict[str, Any] = json.loads(text)
            return cls(int(content["pid"]), *(str(content[key]) for key in ("host", "process_start", "since", "work")))
        return None

    def is_alive(self) -> bool:
        """Whether the process of this host still runs; one that took over its number is another."""
        if self.pid <= 0:
            return False
        if not hasattr(os, "fork"):
            return True  # Windows: a process cannot be probed without ending it
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # somebody else's
            pass
        return not self.process_start or _process_start(self.pid) == self.process_start

    def __str__(self) -> str:
        return f"{self.work}, process {self.pid} on {self.host} since {self.since}"


class _BusyError(UserError):
    """Another process works there, or might."""


def take_lock(folder: Path, work: str, *, wait: float = 0, say: Callable[[str], object] | None = None) -> None:
    """Take a folder for this process, which may take it again; a lock whose process ended is taken over.

    Args:
        folder: An existing folder.
        work: What is done there, such as ``training``.
        wait: Seconds to wait for another process.
        say: Called with one line if a lock was taken over.

    Raises:
        UserError: Another process works there, or might, on another host.
    """
    folder = folder.resolve()
    end = time.monotonic() + wait
    while True:
        try:
            return _take(folder, work, say)
        except _BusyError:
            if time.monotonic() >= end:
                raise
        time.sleep(POLL_SECONDS)


def release_lock(folder: Path) -> None:
    """Release a folder, if this process holds it."""
    folder = folder.resolve()
    if _is_held(folder):
        descriptor, _ = _held.pop(folder)
        (folder / NAME).unlink(missing_ok=True)
        os.close(descriptor)


@contextlib.contextmanager
def run_lock(folder: Path, work: str, *, wait: float = 0, say: Callable[[str], object] | None = None) -> Iterator[None]:
    """``with run_lock(folder, "planning"):`` :func:`take_lock` and :func:`release_lock`; the outermost releases."""
    outermost = not _is_held(folder.resolve())
    take_lock(folder, work, wait=wait, say=say)
    try:
        yield
    finally:
        if outermost:
            release_lock(folder)


def _is_held(folder: Path) -> bool:
    descriptor, owner = _held.get(folder, (-1, -1))
    if owner != os.getpid():
        return False
    if _is_still(folder / NAME, descriptor):
        return True
    del _held[folder]  # the folder was deleted, or made again
    os.close(descriptor)
    return False


def _take(folder: Path, work: str, say: Callable[[str], object] | None) -> None:
    if _is_held(folder):
        return
    file = folder / NAME
    while True:
        descriptor = _open(file)
        try:
            locked = _lock(descriptor)
            former = Holder.parse(os.read(descriptor, 4096).decode(errors="replace"))
            if locked is not False and not _is_still(file, descriptor):  # its holder has just removed it
                os.close(descriptor)
                continue
            _check_former(file, former, locked)
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, json.dumps(Holder.this(work).__dict__).encode())
        except BaseException:
            os.close(descriptor)
            raise
        break
    _held[folder] = descriptor, os.getpid()
    if former is not None and say is not None:
        say(f"{folder}: taken over from {former}, which ended without releasing it.")


def _open(file: Path) -> int:
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, 0o666)  # others may take it over, regardless of the umask
        return descriptor
    except OSError as error:
        if file.exists():
            raise _BusyError(
                f"{file.parent}: expected nobody at work there, found the lock of another user. Wait for the work to "
                f"finish; if it has ended, delete {file}."
            ) from error
        raise UserError(
            f"{file.parent}: expected a folder that can be written, got {error.strerror!r}. Correct its permissions, "
            f"free space, or choose another."
        ) from error


def _lock(descriptor: int) -> bool | None:
    """Lock an open file: True; False: another process has it; None: this file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


@atexit.register
def _release_all() -> None:
    for folder in list(_held):
        release_lock(folder)


def _is_still(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(file), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _check_former(file: Path, former: Holder | None, locked: bool | None) -> None:
    """Refuse if the process that the file names lives or might live."""
    if locked is False:
        raise _BusyError(
            f"{file.parent}: expected nobody at work there, found {former or 'another process'}. Wait for it to "
            f"finish, or stop it{'' if former is None else f' (kill {former.pid})'}; then run the command again."
        )
    if former is None:
        return
    if former.host != socket.gethostname():
        if not (locked and _reach_all_hosts(file.parent)):
            raise _BusyError(
                f"{file.parent}: expected nobody at work there, found {former}, a host that cannot be checked from "
                f"{socket.gethostname()}. Wait for it to finish; if it has ended, delete {file}."
            )
    elif locked is None and former.is_alive():
        raise _BusyError(
            f"{file.parent}: expected nobody at work there, found {former}. Wait for it to finish, or stop it."
        )


def _reach_all_hosts(folder: Path) -> bool:
    """Whether locks of this folder's file system hold for all hosts that see it."""
    device = os.stat(folder).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return False
    for words in map(str.split, lines):
        if words[2] == number:
            kind, options = words[words.index("-") + 1], words[-1].split(",")
            return kind in (*LOCAL, *PARALLEL) or REACHING.get(kind) in options
    return False


def _process_start(pid: int) -> str:
    """Start of a process in ticks since boot, from /proc; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
