"""Links to a user's files, which are neither moved nor changed."""

from __future__ import annotations

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
