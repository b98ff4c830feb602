"""A few random patches of a preprocessed image, around voxels that the plain prediction calls foreground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from numpy.typing import NDArray
from torch import Tensor


def foreground_patches(
    image: Tensor, foreground: NDArray[np.bool_], size: Sequence[int], count: int, generator: np.random.Generator
) -> list[NDArray[np.float32]]:
    """Draw patches, each around a random foreground voxel, moved into the image; padded with 0 where it is smaller.

    Args:
        image: (C, D, H, W), preprocessed.
        foreground: (D, H, W); anywhere is drawn from if it is empty.
        size: Of a patch; two numbers draw slices of a 2d configuration.
        count: How many.
        generator: Draws the voxels.

    Returns:
        Patches (C, *size).
    """
    voxels = np.flatnonzero(foreground)
    drawn = generator.choice(voxels, count) if voxels.size else generator.integers(foreground.size, size=count)
    padded = pad_nd_image(image, tuple(size), "constant", {"value": 0})  # only axes that a patch covers whole
    across = image.ndim - 1 - len(size)
    patches = []
    for voxel in drawn:
        place = [int(at) for at in np.unravel_index(voxel, foreground.shape)]
        starts = [
            min(max(at - edge // 2, 0), length - edge)
            for at, edge, length in zip(place[across:], size, padded.shape[1 + across :], strict=True)
        ]
        window = [slice(start, start + edge) for start, edge in zip(starts, size, strict=True)]
        patches.append(padded[(slice(None), *place[:across], *window)].to(torch.float32).numpy())
    return patches
