"""Products by bands are products with the whole matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunet_ext.resampling.axis_matrix import axis_matrix, coarse_axis_matrix
from nnunet_ext.resampling.axis_product import axis_product, bands, grid_product

pytestmark = pytest.mark.smoke


def along(matrix: np.ndarray, data: torch.Tensor, axis: int) -> np.ndarray:
    return np.moveaxis(np.tensordot(matrix, data.double().numpy(), (1, axis)), 0, axis)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("target", [70, 160])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-6), (torch.float64, 1e-11)])
@pytest.mark.parametrize("coarse", [False, True])
def test_each_axis_with_more_lines_than_a_chunk(axis, target, dtype, tolerance, coarse):
    shape = [36, 36, 36]
    shape[axis] = 110
    data = torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    matrix = (coarse_axis_matrix if coarse else axis_matrix)(110, target, 3)
    made = axis_product(data, axis, target, 3, coarse=coarse)
    assert made.dtype == dtype
    np.testing.assert_allclose(made.numpy(), along(matrix, data, axis), atol=tolerance)


def test_nearest_copies():
    data = torch.rand(5, 3, 3, dtype=torch.float64)
    for coarse, matrix in ((False, axis_matrix), (True, coarse_axis_matrix)):
        made = axis_product(data, 0, 8, 0, coarse=coarse)
        np.testing.assert_array_equal(made.numpy(), along(matrix(5, 8, 0), data, 0))


def test_all_axes_up_and_down():
    data = torch.rand(12, 20, 9, dtype=torch.float64)
    for sizes in ((5, 33, 9), (14, 7, 12), (12, 20, 4), (13, 20, 9), (3, 30, 30)):
        expected = data
        for axis in range(3):
            expected = torch.from_numpy(along(axis_matrix(data.shape[axis], sizes[axis], 3), expected, axis))
        np.testing.assert_allclose(grid_product(data, sizes, 3).numpy(), expected.numpy(), atol=1e-12)


def test_nothing_to_do_is_no_copy():
    data = torch.rand(3, 4, 5)
    assert axis_product(data, 1, 4, 3) is data
    assert grid_product(data, (3, 4, 5), 3) is data


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_view_with_other_strides(axis: int):
    data = torch.rand(6, 7, 8, dtype=torch.float64).permute(2, 1, 0)
    expected = along(axis_matrix(data.shape[axis], 9, 1), data, axis)
    np.testing.assert_allclose(axis_product(data, axis, 9, 1).numpy(), expected, atol=1e-12)


def test_bands_are_narrow():
    """32 rows of 512 -> 256 read 64 columns, and 16 more on each side until a cubic spline's weights are below 1e-9."""
    for rows, columns, weights in bands(512, 256, 3, False, torch.float32):
        assert rows.stop - rows.start == 32
        assert columns.stop - columns.start <= 64 + 2 * 18
        assert weights.shape == (32, columns.stop - columns.start)
