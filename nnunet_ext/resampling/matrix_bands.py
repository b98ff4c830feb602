"""The parts of a resampling matrix that matter: the weights of a spline decay fast."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.resampling.axis_matrix import axis_matrix, coarse_axis_matrix

ROWS = 32  # of a block: with more, its band grows; with fewer, the products get too small to be fast
NEGLIGIBLE = {"float32": 1e-9, "float64": 1e-12}  # weights; a cubic spline's get there after 16 and 21 voxels

MatrixBand = tuple[slice, slice, NDArray[np.float64]]


@lru_cache(maxsize=64)
def matrix_bands(source: int, target: int, order: int, coarse: bool, dtype: str) -> tuple[MatrixBand, ...]:
    """Return the parts of a resampling matrix that matter, in blocks of rows.

    Args:
        source: Voxels along the axis.
        target: Voxels along the resampled axis.
        order: Of the spline, 0 to 5.
        coarse: Place the samples as nnU-Net does along the axis of thick slices (``coarse_axis_matrix``).
        dtype: Of the image, ``"float32"`` or ``"float64"``: which weights are negligible depends on it.

    Returns:
        For each block: its rows, the columns from the first to the last whose weight is not negligible, and the weights
        (rows, columns).

    Example:
        >>> [(rows, columns) for rows, columns, _ in matrix_bands(2, 4, 1, False, "float32")]
        [(slice(0, 4, None), slice(0, 2, None))]
    """
    matrix = (coarse_axis_matrix if coarse else axis_matrix)(source, target, order)
    found = []
    for first in range(0, target, ROWS):
        rows = slice(first, min(first + ROWS, target))
        used = np.flatnonzero((np.abs(matrix[rows]) > NEGLIGIBLE[dtype]).any(0))
        columns = slice(int(used[0]), int(used[-1]) + 1)
        found.append((rows, columns, matrix[rows, columns]))
    return tuple(found)


@lru_cache(maxsize=64)
def nearest_voxels(source: int, target: int, coarse: bool) -> NDArray[np.intp]:
    """Return which voxel each of the resampled axis (target) takes with order 0.

    Args:
        source: Voxels along the axis.
        target: Voxels along the resampled axis.
        coarse: As in :func:`matrix_bands`.

    Example:
        >>> nearest_voxels(2, 4, False).tolist()
        [0, 0, 1, 1]
    """
    return np.asarray((coarse_axis_matrix if coarse else axis_matrix)(source, target, 0).argmax(1))
