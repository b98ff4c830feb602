"""Files that operating systems leave in folders."""

from __future__ import annotations

from pathlib import Path

NAMES = (".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini")
DOUBLE = "._"  # macOS keeps a file's attributes in a second one of this name, on disks that have no place for them


def is_system_file(file: Path) -> bool:
    """Whether an operating system left the file, which is then ignored."""
    return file.name.lower() in NAMES or file.name.startswith(DOUBLE)


def files_in(folder: Path) -> list[Path]:
    """Return what is in a folder, by name, without the operating system's files; nothing if there is no folder."""
    return sorted(path for path in folder.iterdir() if not is_system_file(path)) if folder.is_dir() else []
