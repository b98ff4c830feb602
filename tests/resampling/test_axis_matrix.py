"""Rows worked out by hand, and the functions of scikit-image and scipy that nnU-Net calls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from skimage.transform import resize

from nnunet_ext.resampling.axis_matrix import axis_matrix, coarse_axis_matrix

pytestmark = pytest.mark.smoke
SIZES = ((1, 7), (7, 1), (2, 5), (9, 4), (40, 27), (27, 40), (13, 13))


def test_linear_rows():
    """Voxel i of 4 is at (i + 0.5) / 2 - 0.5 of 2: -0.25 (the border's value), 0.25, 0.75, 1.25."""
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    assert axis_matrix(2, 4, 1).tolist() == expected
    assert coarse_axis_matrix(2, 4, 1).tolist() == expected


def test_nearest_rows():
    """Voxels 0 and 1 of 2 are at 1 and 4 of 6."""
    expected = [[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0]]
    assert axis_matrix(6, 2, 0).tolist() == expected
    assert coarse_axis_matrix(6, 2, 0).tolist() == expected


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_as_scikit_image_resizes(source: int, target: int, order: int):
    line = np.random.default_rng(source).normal(size=(source, 1))
    expected = resize(line, (target, 1), order, mode="edge", clip=False, anti_aliasing=False)
    np.testing.assert_allclose(axis_matrix(source, target, order) @ line, expected, atol=1e-12)


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_as_scipy_maps_thick_slices(source: int, target: int, order: int):
    line = np.random.default_rng(source).normal(size=source)
    places = source / target * (np.arange(target) + 0.5) - 0.5
    expected = map_coordinates(line, places[None], order=order, mode="nearest")
    np.testing.assert_allclose(coarse_axis_matrix(source, target, order) @ line, expected, atol=1e-12)


@pytest.mark.parametrize("order", [0, 1, 3, 5])
@pytest.mark.parametrize(("source", "target"), [(300, 411), (411, 300), (700, 150)])
def test_long_axes(source: int, target: int, order: int):
    """More than two impulses share a call; the others' responses must not leak into a row."""
    line = np.random.default_rng(source).normal(size=(source, 1))
    expected = resize(line, (target, 1), order, mode="edge", clip=False, anti_aliasing=False)
    np.testing.assert_allclose(axis_matrix(source, target, order) @ line, expected, atol=1e-12)
    places = source / target * (np.arange(target) + 0.5) - 0.5
    expected = map_coordinates(line[:, 0], places[None], order=order, mode="nearest")
    np.testing.assert_allclose(coarse_axis_matrix(source, target, order) @ line[:, 0], expected, atol=1e-12)
    if order < 2:
        assert (np.count_nonzero(axis_matrix(source, target, order), axis=1) <= 2).all()
