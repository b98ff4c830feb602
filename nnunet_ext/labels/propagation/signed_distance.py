"""Signed distances to the border of a mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

Map = NDArray[np.float64]
Mask = NDArray[np.bool_]


def signed_distance(mask: Mask, spacing: Sequence[float]) -> Map:
    """Return the distance of each voxel to the nearest one on the other side of the border, inside positive.

    Outside of the array there is background: a mask that touches its border ends there.

    Args:
        mask: Foreground (H, W), or any number of axes; with at least one voxel, else there is no distance.
        spacing: Voxel size in mm, same axis order.

    Returns:
        Distances in mm, of the same shape; none is zero.

    Raises:
        ValueError: The mask is empty.

    Example:
        >>> signed_distance(np.array([0, 0, 1, 1, 1, 0], bool), (2.0,)).tolist()
        [-4.0, -2.0, 2.0, 4.0, 2.0, -2.0]
    """
    if not mask.any():
        raise ValueError("expected a mask with foreground, found none: it has no distance")
    padded = np.pad(mask, 1)
    inside, outside = (distance_transform_edt(each, sampling=spacing) for each in (padded, ~padded))
    return (inside - outside)[(slice(1, -1),) * mask.ndim]
