"""The bands of a matrix hold all of its weights that matter, and little else."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.resampling.axis_matrix import axis_matrix, coarse_axis_matrix
from nnunet_ext.resampling.matrix_bands import NEGLIGIBLE, matrix_bands, nearest_voxels


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("dtype", NEGLIGIBLE)
@pytest.mark.parametrize(("source", "target"), [(512, 200), (60, 300), (5, 5)])
def test_all_that_matters(source: int, target: int, dtype: str, coarse: bool) -> None:
    matrix = (coarse_axis_matrix if coarse else axis_matrix)(source, target, 3)
    built, width = np.zeros_like(matrix), 0
    for rows, columns, weights in matrix_bands(source, target, 3, coarse, dtype):
        built[rows, columns] = weights
        width = max(width, columns.stop - columns.start)
    assert np.abs(built - matrix).max() <= NEGLIGIBLE[dtype]
    assert width < 150


@pytest.mark.parametrize("coarse", [False, True])
def test_nearest(coarse: bool) -> None:
    matrix = (coarse_axis_matrix if coarse else axis_matrix)(7, 18, 0)
    np.testing.assert_array_equal(np.eye(7)[nearest_voxels(7, 18, coarse)], matrix)
