"""Random images against nnU-Net's function, and numbers worked out by hand."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg

from nnunet_ext.errors import UserError
from nnunet_ext.resampling import axis_product
from nnunet_ext.resampling.images import resample_images

DTYPES = ("float32", "float32", "float64", "float16", "uint8", "int8", "int16", "int32")
SPLIT: tuple[tuple[int | None, int], ...] = ((None, 0), *((axis, order) for axis in range(3) for order in (0, 1, 3)))


def stock(images: np.ndarray, shape: Any, order: int, separate_axis: int | None, order_z: int) -> np.ndarray:
    with np.errstate(all="ignore"):
        return resample_data_or_seg(
            images, shape, False, separate_axis, order, separate_axis is not None, order_z=order_z
        )


def check(images: np.ndarray, shape: Any, order: int, separate_axis: int | None = None, order_z: int = 0) -> None:
    """Numpy and torch, against nnU-Net."""
    before = images.copy()
    options = {"order": order, "separate_axis": separate_axis, "order_z": order_z}
    made = resample_images(images, shape, **options)
    assert type(made) is np.ndarray
    assert (made.dtype, made.shape) == (images.dtype, (len(images), *shape))
    by_torch = resample_images(torch.from_numpy(images), shape, **options)
    assert isinstance(by_torch, torch.Tensor)
    np.testing.assert_array_equal(by_torch.numpy(), made)
    np.testing.assert_array_equal(images, before)
    expected = stock(images, shape, order, separate_axis, order_z)
    precise = stock(images.astype(float), shape, order, separate_axis, order_z)
    if images.dtype.kind == "f":
        for channel, one, other in zip(images, made, expected, strict=True):
            step = (16 if images.dtype == np.float64 else 1) * np.finfo(images.dtype).eps * np.abs(other).max()
            share = 1e-11 if images.dtype == np.float64 else 5e-6
            np.testing.assert_allclose(
                one.astype(float), other.astype(float), rtol=0, atol=share * float(np.ptp(channel)) + float(step)
            )
    else:
        differs = made != expected
        assert np.abs(made.astype(int) - expected.astype(int)).max(initial=0) <= 1
        assert np.abs(precise - np.round(precise))[differs].max(initial=0) < 1e-9  # 3 - 1e-15 is cut off to 2
        assert differs.mean() < 0.3 or min(images.shape[1:]) < 3


@pytest.mark.parametrize("seed", range(14))
def test_as_nnunet(seed: int):
    """20 images for each seed."""
    rng = np.random.default_rng(seed)
    for case in range(20):
        order = int(rng.choice([0, 1, 3, 3, 3, int(rng.choice([2, 4, 5]))]))
        separate_axis, order_z = SPLIT[rng.integers(len(SPLIT))] if case % 2 else (None, 0)
        source = [int(rng.choice([1, rng.integers(2, 12), rng.integers(12, 40)], p=[0.1, 0.5, 0.4])) for _ in range(3)]
        shape = [size if rng.random() < 0.2 else int(rng.integers(1, 40)) for size in source]
        dtype = np.dtype(DTYPES[rng.integers(len(DTYPES))])
        numbers = rng.normal(size=(int(rng.integers(1, 4)), *source))
        if dtype.kind == "f":
            images = (numbers * 10.0 ** rng.integers(-2, 3) + rng.choice([0, 0, 50])).astype(dtype)
        else:
            images = (numbers * 8 + 60).clip(30, 90).astype(dtype)  # far enough from the dtype's ends to overshoot
        check(images, shape, order, separate_axis, order_z)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("separate_axis", [None, 0])
def test_long_axes_with_steps(order: int, separate_axis: int | None):
    """Masks of CT: long axes have several bands, and splines overshoot at each step."""
    image = np.where(np.random.default_rng(3).random((1, 6, 150, 90)) < 0.5, -1000.0, 400.0).astype(np.float32)
    check(image, (9, 101, 140), order, separate_axis)


@pytest.mark.smoke
def test_linear_numbers():
    """Voxels 0 and 1 of 2 lie between voxels 0 and 1, and 2 and 3, of 4; voxel i of 3 is at (i + 0.5) * 4 / 3 - 0.5."""
    image = np.array([0.0, 1.0, 2.0, 6.0], np.float32).reshape(1, 1, 1, 4)
    assert resample_images(image, (1, 1, 2), order=1).ravel().tolist() == [0.5, 4.0]
    thirds = resample_images(image, (1, 1, 3), order=1).ravel()
    np.testing.assert_allclose(thirds, [1 / 6, 1.5, 2 + 4 * 5 / 6], rtol=1e-6)


@pytest.mark.smoke
def test_thick_slices_are_copied():
    """Slices 0 to 2 of 3 are at -1/6, 0.5 (a tie of two slices) and 7/6 of 2."""
    image = np.array([[[0.0, 4.0]], [[10.0, 30.0]]])[None]
    made = resample_images(image, (3, 1, 1), order=1, separate_axis=0)
    np.testing.assert_array_equal(made, stock(image, (3, 1, 1), 1, 0, 0))
    assert made.ravel()[[0, 2]].tolist() == [2.0, 20.0]
    assert resample_images(image, (3, 1, 1), order=1, separate_axis=0, order_z=1).ravel().tolist() == [2.0, 11.0, 20.0]


@pytest.mark.smoke
def test_overshoots_are_clipped_to_the_range_of_a_channel_or_slice():
    step = np.repeat([0.0, 1.0], 8).reshape(1, 1, 1, 16).repeat(4, 1).astype(np.float32)
    step[0, 2:] *= 5
    whole = resample_images(step, (4, 1, 37))
    assert whole.min() == 0
    assert whole[0, :2].max() > 1.01  # overshoots into the range of the channel
    assert whole.max() == 5
    slices = resample_images(step, (4, 1, 37), separate_axis=0)
    assert slices[0, :2].max() == 1
    two = np.concatenate([step, step * 10])
    assert resample_images(two, (4, 1, 37)).max((1, 2, 3)).tolist() == [5, 50]
    thick = resample_images(step, (23, 1, 37), separate_axis=0, order_z=3)
    assert thick.max() > 5.05  # nothing clips what the spline along the thick slices adds


def test_linear_sums_are_clipped():
    """0.1 + 0.2 + 0.7 times 0.3 is not always 0.3; a constant stays what it is, in every dtype and order."""
    for dtype in (np.float16, np.float32, np.float64, np.int16):
        for value in (0.3, 7, -1000.7, 12345):
            constant = np.full((1, 5, 6, 7), value, dtype)
            for order in (0, 1, 3, 5):
                for options in ({}, {"separate_axis": 1}, {"separate_axis": 1, "order_z": 3}):
                    made = resample_images(constant, (8, 9, 4), order=order, **options)
                    assert (made == constant.flat[0]).all()


def test_linear_overshoots_by_rounding_are_clipped():
    image = np.random.default_rng(0).choice([0.1, 0.7], size=(1, 9, 9, 9))
    for shape in ((13, 11, 17), (31, 23, 29)):
        made = resample_images(image, shape, order=1)
        assert (made.min(), made.max()) == (0.1, 0.7)


@pytest.mark.parametrize("options", [{}, {"separate_axis": 0}, {"separate_axis": 2, "order_z": 1}])
def test_far_from_zero(options: dict[str, int]):
    """float32 has 1024 steps between 10000 and 10001; nearly all voxels get the same, none is two away."""
    image = (10000 + np.random.default_rng(2).random((1, 12, 25, 31))).astype(np.float32)
    expected = stock(image, (17, 20, 40), 3, options.get("separate_axis"), options.get("order_z", 0))
    made = resample_images(image, (17, 20, 40), **options)
    assert np.abs(made - expected).max() <= 2**-10
    assert (made != expected).mean() < 0.005


def test_one_channel_far_from_zero_does_not_move_another():
    image = np.random.default_rng(2).random((2, 6, 7, 8)).astype(np.float32)
    image[1] += 10000
    both = resample_images(image, (9, 9, 9))
    np.testing.assert_array_equal(both[:1], resample_images(image[:1], (9, 9, 9)))


@pytest.mark.parametrize("separate_axis", [None, 0])
def test_nan_as_in_nnunet(separate_axis: int | None):
    image = np.random.default_rng(5).normal(size=(2, 6, 40, 90)).astype(np.float32)
    image[0, 2, 3, 4] = np.nan
    for order in (0, 2, 3):
        shape = (6, 50, 70)
        made, expected = (
            resample_images(image, shape, order=order, separate_axis=separate_axis),
            stock(image, shape, order, separate_axis, 0),
        )
        np.testing.assert_array_equal(np.isnan(made), np.isnan(expected))
        np.testing.assert_allclose(made, expected, atol=5e-5)
    linear = resample_images(image, (6, 50, 70), order=1, separate_axis=separate_axis)
    expected = stock(image, (6, 50, 70), 1, separate_axis, 0)
    assert not np.isnan(linear[0]).all()
    assert not np.isnan(linear[1]).any()
    known = ~np.isnan(linear) & ~np.isnan(expected)
    np.testing.assert_allclose(linear[known], expected[known], atol=5e-5)


def test_other_layouts():
    """Read-only, reversed, transposed; a tensor that needs gradients, one of half precision, one of a longer type."""
    image = np.random.default_rng(7).normal(size=(2, 5, 6, 7)).astype(np.float32)
    expected = resample_images(image, (4, 8, 9))
    fixed = image.copy()
    fixed.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of arrays that nobody may write to
        np.testing.assert_array_equal(resample_images(fixed, (4, 8, 9)), expected)
    np.testing.assert_allclose(resample_images(image[:, ::-1], (4, 8, 9))[:, ::-1], expected, atol=1e-5)
    turned = resample_images(image.transpose(0, 3, 2, 1), (9, 8, 4))
    np.testing.assert_allclose(turned.transpose(0, 3, 2, 1), expected, atol=1e-5)
    made = resample_images(torch.from_numpy(image).requires_grad_(), torch.Size((4, 8, 9)))
    assert not made.requires_grad
    np.testing.assert_array_equal(made.numpy(), expected)
    short = resample_images(torch.from_numpy(image).bfloat16(), np.array([4, 8, 9]))
    assert short.dtype == torch.bfloat16
    np.testing.assert_allclose(short.float().numpy(), expected, atol=0.05)


def test_nothing_to_do_is_no_copy():
    image = np.zeros((1, 2, 3, 4), np.float32)
    assert resample_images(image, (2, 3, 4)) is image
    tensor = torch.zeros(1, 2, 3, 4)
    assert resample_images(tensor, (2, 3, 4), separate_axis=1) is tensor


def test_no_voxels():
    assert resample_images(np.zeros((0, 2, 3, 4)), (5, 6, 7)).shape == (0, 5, 6, 7)
    assert resample_images(np.zeros((2, 2, 3, 4)), (5, 0, 7)).shape == (2, 5, 0, 7)
    with pytest.raises(UserError, match=r"resample_images: expected voxels .* got shape \(1, 0, 3, 4\)"):
        resample_images(np.zeros((1, 0, 3, 4)), (5, 6, 7))
    with pytest.raises(UserError, match="resample_images: expected an array"):
        resample_images(np.zeros((3, 3, 4)), (5, 6, 7))


def test_takes_one_thread_and_gives_the_others_back(monkeypatch):
    """Products this small take many times as long with several threads."""
    used: list[int] = []
    product = axis_product.axis_product

    def noting(*words, **options):
        used.append(torch.get_num_threads())
        return product(*words, **options)

    monkeypatch.setattr(axis_product, "axis_product", noting)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        image = np.random.default_rng(0).normal(size=(1, 9, 8, 7)).astype(np.float32)
        resample_images(image, (6, 9, 9))
        resample_images(torch.from_numpy(image), (6, 9, 9))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(used) == {1}


def test_reversed_arrays_of_one_slice():
    """numpy calls them contiguous, whatever the stride of the axis of length 1; torch does not read them."""
    image = np.random.default_rng(0).normal(size=(1, 1, 6, 5)).astype(np.float32)
    np.testing.assert_array_equal(resample_images(image[:, ::-1], (1, 9, 9)), resample_images(image, (1, 9, 9)))
