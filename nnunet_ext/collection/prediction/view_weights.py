"""The weights of a task view: its own files, or links to the collection's.

nnU-Net's import writes into the existing file, and so through links of both kinds: importing an old zip of one view
would give its weights to the collection and to all other views. Hence each view has its own files. Where the file
system clones (Btrfs, XFS, bcachefs), they share the collection's disk blocks until one is written to, and follow every
save; elsewhere they are copied when the training ends. Links, which store the weights only once, are made on request.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from nnunet_ext.collection.card import LINKS, OWN
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.files.json_file import partial_of

WEIGHTS = ("checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth")
FILES = (*WEIGHTS, "progress.png", "debug.json")
PASSING = "checkpoint_latest.pth"  # removed at the end of the training
FICLONE = 0x40049409  # of Linux' ioctl

Way = Callable[[Path, Path], object]


def clone(file: Path, target: Path) -> None:
    """Write a file that shares its disk blocks with another until one of them is written to.

    Raises:
        OSError: The file system cannot.
    """
    try:
        import fcntl
    except ImportError as error:  # Windows
        raise OSError("no clones here") from error
    with file.open("rb") as theirs, target.open("wb") as ours:
        fcntl.ioctl(ours, FICLONE, theirs.fileno())
    shutil.copystat(file, target)


def can_clone(folder: Path) -> bool:
    """Whether a folder's file system clones files, found by trying."""
    try:
        with tempfile.TemporaryDirectory(prefix=".clone.", dir=folder) as place:
            file = Path(place) / "file"
            file.write_bytes(bytes(4096))
            clone(file, Path(place) / "clone")
    except OSError:
        return False
    return True


def follow(source: Path, fold: Path, how: str, *, finished: bool) -> None:
    """Let a view's fold follow the collection's.

    Args:
        source: The collection's fold.
        fold: The view's.
        how: ``"own"`` or ``"links"``.
        finished: Copy where the file system cannot clone; during training only clones and links follow.

    Raises:
        UserError: Nothing can be written.
    """
    ways: tuple[Way, ...] = (clone, shutil.copy2) if how == OWN else (_symlink, os.link, shutil.copy2)
    waits = how == OWN and not finished and not can_clone(fold)
    for name in FILES:
        theirs, ours = source / name, fold / name
        if not theirs.is_file():
            if ours.is_symlink() or name == PASSING:  # the view's own file may be the only copy left
                ours.unlink(missing_ok=True)
        elif waits and name in WEIGHTS:
            if _is_link(ours, theirs):  # of an earlier training
                ours.unlink()
        elif not _stands_for(ours, theirs, how):
            put(ours, theirs, ways)


def remove(fold: Path) -> None:
    """Remove the weights from a view's fold, which belong to plans that are replaced."""
    for name in FILES:
        (fold / name).unlink(missing_ok=True)


def remove_links(fold: Path) -> None:
    """Remove links to the collection's files from a view's fold; a hard link counts as the view's own file."""
    for name in FILES:
        if (fold / name).is_symlink():
            (fold / name).unlink()


def disk_cost(sizes: Sequence[int], views: int, how: str, folder: Path) -> str:
    """Say what the weights of views cost on disk.

    Args:
        sizes: Bytes of the collection's checkpoints.
        views: Their number.
        how: ``"own"`` or ``"links"``.
        folder: A folder of the file system.
    """
    if how == LINKS:
        return f"{views} task views link to the collection's weights (knob multi_dataset.view_weights)."
    if can_clone(folder):
        return f"{views} task views have clones of the weights, which share the collection's disk blocks."
    cost, free = views * sum(sizes) / 1e9, shutil.disk_usage(folder).free / 1e9
    warning = f" WARNING: {free:.2f} GB are free." if cost > free else ""
    return (
        f"{views} task views have copies of the weights once the training has ended, {cost:.2f} GB in all; with the "
        f"knob multi_dataset.view_weights=links they are on disk once.{warning}"
    )


def put(place: Path, file: Path, ways: Sequence[Way]) -> None:
    """Put ``file`` at ``place`` atomically, in the first way that the file system supports.

    Raises:
        UserError: There is no room, or the folder cannot be written.
    """
    partial = partial_of(place)
    partial.unlink(missing_ok=True)
    try:
        for way in ways[:-1]:
            with contextlib.suppress(OSError, ValueError, NotImplementedError):  # ValueError: another drive
                way(file, partial)
                partial.replace(place)
                return
            partial.unlink(missing_ok=True)
        ways[-1](file, partial)
        partial.replace(place)
    except OSError as error:
        raise UserError(
            f"{place}: expected to write a file of a task view, got {one_line(error)!r}. Free space or change the "
            f"folder's rights, then run nnunet_ext task_views."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _is_link(ours: Path, theirs: Path) -> bool:
    """Whether writing to one writes to the other."""
    return ours.is_symlink() or (ours.is_file() and theirs.is_file() and ours.samefile(theirs))


def _stands_for(ours: Path, theirs: Path, how: str) -> bool:
    """Whether a view's file is the collection's, in the requested way."""
    if not ours.is_file():
        return False
    if _is_link(ours, theirs):
        return how == LINKS and ours.samefile(theirs)
    one, other = ours.stat(), theirs.stat()
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def _symlink(file: Path, link: Path) -> None:
    """Link relatively, so that the results folder may move; through real paths, as a dataset may be a link itself."""
    link.symlink_to(os.path.relpath(file.resolve(), link.parent.resolve()))
    if not link.is_file():
        raise OSError(f"{link}: a broken link")
