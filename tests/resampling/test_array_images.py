"""Resampling with numpy gives what resampling with torch gives, which the tests of images compare with nnU-Net."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.resampling.array_images import resample_array_images
from nnunet_ext.resampling.images import resample_images

SHAPES = [((6, 30, 25), (9, 21, 50)), ((21, 8, 9), (5, 8, 13)), ((4, 140, 9), (4, 50, 9)), ((1, 7, 8), (1, 9, 8))]


@pytest.mark.parametrize(("source", "target"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_as_with_torch(source: tuple[int, ...], target: tuple[int, ...], dtype: type) -> None:
    images = np.random.default_rng(0).normal(size=(2, *source)).astype(dtype)
    images[1] += 3000  # far from 0: sums of float32 would lose digits
    for order, axis, order_z in itertools.product((0, 1, 3), (None, 0, 1, 2), (0, 1)):
        how = {"order": order, "separate_axis": axis, "order_z": order_z}
        expected = resample_images(images.copy(), target, **how)
        found = resample_array_images(images, target, **how)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape == (2, *target)
        for one, other, given in zip(found, expected, images, strict=True):
            rounding = np.spacing(np.abs(given).max())
            within = 2e-6 if dtype == np.float32 else 1e-11
            np.testing.assert_allclose(one, other, rtol=0, atol=within * np.ptp(given) + rounding)


def test_results_stay_in_the_range_of_the_image_or_slice() -> None:
    images = np.random.default_rng(0).integers(0, 2, (1, 6, 20, 20)).astype(np.float32)
    images[0, 3] *= 9
    made = resample_array_images(images, (6, 33, 31), order=3, separate_axis=0)
    for one, given in zip(made[0], images[0], strict=True):
        assert (one.min(), one.max()) == (given.min(), given.max())


def test_the_same_shape_is_the_same_array_and_images_are_not_changed() -> None:
    images = np.random.default_rng(0).normal(5, 1, (1, 4, 5, 6)).astype(np.float32)
    given = images.copy()
    assert resample_array_images(images, (4, 5, 6)) is images
    resample_array_images(images[:, ::-1].transpose(0, 3, 1, 2), (9, 4, 7))
    np.testing.assert_array_equal(images, given)


def test_views_are_read_as_they_are() -> None:
    images = np.random.default_rng(0).normal(size=(1, 4, 5, 6)).astype(np.float32)
    view = images[:, ::-1].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(
        resample_array_images(view, (9, 4, 7)), resample_array_images(np.ascontiguousarray(view), (9, 4, 7))
    )


@pytest.mark.parametrize(("given", "shape"), [((1, 4, 0, 6), (4, 5, 6)), ((1, 4, 5, 6), (4, 0, 6))])
def test_no_voxels(given: tuple[int, ...], shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="resample_array_images: expected voxels along each axis"):
        resample_array_images(np.zeros(given, np.float32), shape)


def test_wrong_sizes() -> None:
    with pytest.raises(UserError, match=r"resample_array_images: expected an array \(C, D, H, W\)"):
        resample_array_images(np.zeros((4, 5, 6), np.float32), (4, 5, 6))
