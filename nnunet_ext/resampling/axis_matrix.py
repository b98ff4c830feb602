"""Resampling along one axis as a matrix, taken from scipy, so that spline filter and borders are exactly scipy's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, zoom

APART = 128  # voxels between impulses that are resampled at once; at half of that, a spline's weights are below 1e-20


def axis_matrix(source: int, target: int, order: int) -> NDArray[np.float64]:
    """Return the matrix (target, source) that resizes an axis as ``skimage.transform.resize(mode="edge")`` does.

    Spline resampling on a grid is separable, so three such matrices, one for each axis, resize an image.

    Args:
        source: Voxels along the axis.
        target: Voxels along the resized axis.
        order: Of the spline, 0 to 5.

    Example:
        >>> axis_matrix(2, 4, order=1).tolist()
        [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """

    def resize(line: NDArray[np.float64]) -> NDArray[np.float64]:
        return zoom(line, target / source, order=order, mode="nearest", grid_mode=True)

    return _matrix(resize, source, target)


def coarse_axis_matrix(source: int, target: int, order: int) -> NDArray[np.float64]:
    """Return the matrix (target, source) with which nnU-Net resamples the axis of thick slices.

    nnU-Net calls ``scipy.ndimage.map_coordinates(mode="nearest")`` at ``source / target * (i + 0.5) - 0.5``. These are
    the places of :func:`axis_matrix` too, but numpy rounds them here and scipy there; a tie of two slices can depend on
    that.

    Args:
        source: Slices.
        target: Slices after resampling.
        order: nnU-Net's ``order_z``, 0 to 5.
    """
    places = (float(source) / target * (np.arange(target) + 0.5) - 0.5)[None]

    def resize(line: NDArray[np.float64]) -> NDArray[np.float64]:
        return map_coordinates(line, places, order=order, mode="nearest")

    return _matrix(resize, source, target)


def _matrix(
    resize: Callable[[NDArray[np.float64]], NDArray[np.float64]], source: int, target: int
) -> NDArray[np.float64]:
    """Return the matrix of a linear function, whose columns are its responses to impulses.

    Impulses that are far apart share a call: of each row, the response belongs to the impulse nearest to it.
    """
    if source == target:
        return np.eye(source)
    matrix = np.zeros((target, source))
    rows = np.arange(target)
    centres = (rows + 0.5) * source / target - 0.5
    for first in range(min(APART, source)):
        line = np.zeros(source)
        line[first::APART] = 1
        last = (source - 1 - first) // APART
        nearest = np.clip(np.rint((centres - first) / APART), 0, last).astype(int)
        matrix[rows, first + APART * nearest] = resize(line)
    return matrix
