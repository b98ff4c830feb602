"""A file as dataset.json names it."""

from __future__ import annotations

import os
from pathlib import Path


def reference(file: Path, raw: Path) -> str:
    """Return a file as seen from a folder in nnUNet_raw: relative, so that nnUNet_raw can be moved as a whole.

    Args:
        file: The file; outside of nnUNet_raw its absolute path is returned.
        raw: The folder nnUNet_raw.
    """
    file, raw = (Path(os.path.abspath(path)) for path in (file, raw))
    return f"../{file.relative_to(raw).as_posix()}" if file.is_relative_to(raw) else str(file)
