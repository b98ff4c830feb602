"""A case and its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """A case's files; prediction input has no label."""

    name: str
    images: tuple[Path, ...]
    label: Path | None = None
