"""Shifts of resolution: blur and down-sampling, the same in mm along all axes.

Strengths are in units of the finest voxel edge, so that thick slices are not changed across more than within.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def blur(channel: NDArray[np.float32], deviation: float, spacing: Sequence[float]) -> NDArray[np.float32]:
    """Return the channel convolved with a Gaussian.

    Args:
        channel: (D, H, W).
        deviation: Its standard deviation, in edges of the finest voxel axis.
        spacing: Voxel size of D, H, W in mm.
    """
    finest = min(spacing)
    return ndimage.gaussian_filter(channel, [deviation * finest / step for step in spacing], mode="nearest")


def down_sampling(channel: NDArray[np.float32], factor: float, spacing: Sequence[float]) -> NDArray[np.float32]:
    """Return the channel as averages of blocks, interpolated linearly to the same grid.

    Args:
        channel: (D, H, W).
        factor: Edge of a block, in edges of the finest voxel axis; axes that are coarser already keep their resolution.
        spacing: Voxel size of D, H, W in mm.

    Example:
        >>> down_sampling(np.float32([[[0, 2, 4, 6]]]), 2, (9, 9, 1)).tolist()
        [[[1.0, 2.0, 4.0, 5.0]]]
    """
    finest = min(spacing)
    for axis, step in enumerate(spacing):
        voxels = max(1, round(factor * finest / step))
        if voxels > 1:
            channel = _along(channel, voxels, axis)
    return channel


def _along(channel: NDArray[np.float32], voxels: int, axis: int) -> NDArray[np.float32]:
    """Average ``voxels`` neighbours along an axis and interpolate between the blocks' centres."""
    moved = np.moveaxis(channel, axis, -1)
    length = moved.shape[-1]
    padded = np.pad(moved, [(0, 0)] * (moved.ndim - 1) + [(0, -length % voxels)], mode="edge")
    blocks = padded.reshape(*moved.shape[:-1], -1, voxels).mean(-1)
    places = np.clip((np.arange(length) + 0.5) / voxels - 0.5, 0, blocks.shape[-1] - 1)
    lower = np.minimum(places.astype(int), max(blocks.shape[-1] - 2, 0))
    upper = np.minimum(lower + 1, blocks.shape[-1] - 1)
    weight = (places - lower).astype(np.float32)
    found = blocks[..., lower] * (1 - weight) + blocks[..., upper] * weight
    return np.ascontiguousarray(np.moveaxis(found, -1, axis))
