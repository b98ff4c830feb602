"""The box that is pasted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def random_box(shape: Sequence[int], share: float, generator: np.random.Generator) -> Tensor:
    """Return a mask (1, 1, D, H, W), or (1, 1, H, W), that is true in a box at a random place.

    Args:
        shape: Of the patch.
        share: Of each axis; rounded down, at least one voxel.
        generator: Draws the place, the last possible one included.
    """
    inside = torch.zeros(1, 1, *shape, dtype=torch.bool)
    sides = [max(1, int(share * size + 1e-9)) for size in shape]
    starts = [int(generator.integers(size - side + 1)) for size, side in zip(shape, sides, strict=True)]
    place = [slice(start, start + side) for start, side in zip(starts, sides, strict=True)]
    inside[0, 0][tuple(place)] = True
    return inside
