"""What there is of a dataset's preprocessed data."""

from __future__ import annotations

from pathlib import Path

LABELS = "_seg.b2nd"


def preprocessed_cases(place: Path) -> list[str]:
    """Return the cases that nnU-Net's loader sees in a folder of preprocessed data, sorted; whole or not.

    Args:
        place: The folder, which need not exist.
    """
    names = [file.name for file in place.iterdir()] if place.is_dir() else []
    cases = {name.removesuffix(".b2nd") for name in names if name.endswith(".b2nd") and not name.endswith(LABELS)}
    return sorted(cases | {name.removesuffix(".npz") for name in names if name.endswith(".npz")})
