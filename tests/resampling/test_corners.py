"""What linear interpolation reads, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.resampling.axis_matrix import axis_matrix
from nnunet_ext.resampling.corners import corners

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize(("source", "target"), [(1, 1), (1, 5), (5, 1), (4, 4), (9, 4), (31, 40), (40, 31)])
@pytest.mark.parametrize("order", [0, 1])
def test_they_make_the_matrix_again(source: int, target: int, order: int):
    matrix = axis_matrix(source, target, order)
    lower, upper, weight = corners(matrix)
    again = np.zeros_like(matrix)
    np.add.at(again, (np.arange(target), lower), 1 - weight)
    np.add.at(again, (np.arange(target), upper), weight)
    np.testing.assert_allclose(again, matrix, atol=1e-15)


def test_a_voxel_without_weight_is_not_read():
    """Voxels 0, 1 and 2 of 3 are at 1, 4 and 7 of 9."""
    lower, upper, weight = corners(axis_matrix(9, 3, 1))
    assert lower.tolist() == upper.tolist() == [1, 4, 7]
    assert weight.tolist() == [0, 0, 0]


def test_only_neighbours():
    with pytest.raises(ValueError, match="order 0 or 1"):
        corners(axis_matrix(9, 4, 3))
