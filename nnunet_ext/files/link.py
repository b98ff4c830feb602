"""Links to a user's files, which are neither moved nor changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def link(source: Path, target: Path) -> None:
    """Link, or copy where the file system has no links."""
    try:
        target.symlink_to(source.resolve(), target_is_directory=source.is_dir())
    except OSError:
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)


def reference(file: Path, raw: Path) -> str:
    """Return a file's path as stored in dataset.json: relative, so that nnUNet_raw can be moved as a whole.

    Args:
        file: The file; outside of nnUNet_raw its absolute path is returned.
        raw: The folder nnUNet_raw.
    """
    file, raw = (Path(os.path.abspath(path)) for path in (file, raw))
    return f"../{file.relative_to(raw).as_posix()}" if file.is_relative_to(raw) else str(file)
