"""Write a label map as NIfTI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import SimpleITK
from numpy.typing import NDArray


def write_map(
    file: Path, labels: NDArray[Any], spacing: Sequence[float] = (2.0, 1.0, 1.0), origin: Sequence[float] = (0, 0, 0)
) -> Path:
    """Write labels (D, H, W).

    Args:
        file: The file; its folder is made.
        labels: (D, H, W).
        spacing: mm (D, H, W).
        origin: mm (W, H, D).
    """
    image = SimpleITK.GetImageFromArray(labels)
    image.SetSpacing([float(step) for step in reversed(spacing)])
    image.SetOrigin([float(place) for place in origin])
    file.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(file))
    return file
