"""The two neighbours that linear interpolation reads along one axis, and their weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Corners = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]


def corners(matrix: NDArray[np.float64]) -> Corners:
    """Return what each row of an order-1 resampling matrix reads: two voxels, or one.

    Args:
        matrix: (target, source), as :func:`nnunet_ext.resampling.axis_matrix.axis_matrix` returns it for order 0 or 1.

    Returns:
        Three arrays (target): index of the lower voxel; index of the upper one, which is the next voxel, or the lower
        one again if no other has a weight; weight of the upper voxel (0 in that case). The lower one has the rest of 1.

    Raises:
        ValueError: A row reads more than two neighbours, or voxels that are not neighbours.

    Example:
        >>> from nnunet_ext.resampling.axis_matrix import axis_matrix
        >>> lower, upper, weight = corners(axis_matrix(2, 4, order=1))
        >>> lower.tolist(), upper.tolist(), weight.tolist()
        ([0, 0, 0, 1], [0, 1, 1, 1], [0.0, 0.25, 0.75, 0.0])
    """
    read = matrix != 0
    lower = read.argmax(1)
    upper = matrix.shape[1] - 1 - read[:, ::-1].argmax(1)
    if (upper - lower > 1).any():
        raise ValueError("expected a matrix of order 0 or 1, whose rows read at most two neighbours")
    weight = np.where(upper > lower, matrix[np.arange(len(matrix)), upper], 0.0)
    return lower, upper, weight
