"""Resampling along one axis as a matrix, taken from scipy, so that spline filter and borders are exactly scipy's."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, zoom


@lru_cache(maxsize=16)
def axis_matrix(source: int, target: int, order: int) -> NDArray[np.float64]:
    """Return the matrix (target, source) that resizes an axis as ``skimage.transform.resize(mode="edge")`` does.

    Spline resampling on a grid is separable, so three such matrices, one for each axis, resize an image.

    Args:
        source: Voxels along the axis.
        target: Voxels along the resized axis.
        order: Of the spline, 0 to 5.

    Returns:
        Weights; read-only, since the next caller gets the same array.

    Example:
        >>> axis_matrix(2, 4, order=1).tolist()
        [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    if source == target:
        matrix = np.eye(source)
    else:
        matrix = zoom(np.eye(source), (target / source, 1), order=order, mode="nearest", grid_mode=True)
    matrix.setflags(write=False)
    return matrix


@lru_cache(maxsize=16)
def coarse_axis_matrix(source: int, target: int, order: int) -> NDArray[np.float64]:
    """Return the matrix (target, source) with which nnU-Net resamples the axis of thick slices.

    nnU-Net calls ``scipy.ndimage.map_coordinates(mode="nearest")`` at ``source / target * (i + 0.5) - 0.5``. These are
    the places of :func:`axis_matrix` too, but numpy rounds them here and scipy there; a tie of two slices can depend on
    that.

    Args:
        source: Slices.
        target: Slices after resampling.
        order: nnU-Net's ``order_z``, 0 to 5.

    Returns:
        Weights; read-only, since the next caller gets the same array.
    """
    if source == target:
        matrix = np.eye(source)
    else:
        rows, columns = np.mgrid[:target, :source].astype(float)
        places = np.array([float(source) / target * (rows + 0.5) - 0.5, columns])
        matrix = map_coordinates(np.eye(source), places, order=order, mode="nearest")
    matrix.setflags(write=False)
    return matrix
