"""Files that are damaged in a way that only reading them can tell."""

from __future__ import annotations

import os
from pathlib import Path


def spoil(file: Path) -> None:
    """Damage the end of a file; its size and time stay."""
    time, content = file.stat().st_mtime_ns, file.read_bytes()
    file.write_bytes(content[:-20] + bytes(20))
    os.utime(file, ns=(time, time))
