"""Label maps of logits are those of nnU-Net's own export, but for voxels that nnU-Net decides by rounding."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from stock_labels import assert_same_labels, stock_labels
from torch.utils._python_dispatch import TorchDispatchMode

from nnunet_ext.resampling.logits import labels_of_logits

ISOTROPIC = (None, 1, 0)
SETTINGS = [ISOTROPIC, (None, 0, 0), *((axis, *orders) for axis in range(3) for orders in ((1, 0), (1, 1), (0, 1)))]


def sizes(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """1 to 40 voxels along each axis, small numbers more often; one axis in four keeps its size."""
    source, target = np.exp(rng.uniform(0, np.log(41), (2, 3))).astype(int).tolist()
    kept = rng.random(3) < 0.25
    return tuple(source), tuple(old if keep else new for old, new, keep in zip(source, target, kept, strict=True))


def heads_for(rng: np.random.Generator, shapes: tuple[tuple[int, ...], ...], most: int) -> int:
    """2 to ``most``, fewer for large arrays, for which nnU-Net would need seconds."""
    affordable = min(60_000 // max(map(np.prod, shapes)), 1000 // max(map(max, shapes)))
    return int(rng.integers(2, max(3, min(most, affordable) + 1)))


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(scale=3, size=shape)


def smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 20 * gaussian_filter(rng.normal(size=shape), (0, 2, 2, 2), mode="nearest")


def ties(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Logits without zeros, since of a sum that cancels to 0 rounding leaves something in float32."""
    return rng.integers(1, 5, size=shape).astype(float)


def integers(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-2, 3, size=shape).astype(float)


def compare(make: Any, dtype: str, setting: tuple, most: int = 200, regions: bool = False) -> float:
    """Compare the cases of a setting; return the share of their voxels that differ."""
    axis, order, order_z = setting
    differing = voxels = 0
    for seed in range(20 if setting == ISOTROPIC else 5):
        rng = np.random.default_rng([seed, SETTINGS.index(setting), np.dtype(dtype).itemsize, most])
        shapes = sizes(rng)
        heads = heads_for(rng, shapes, most)
        logits = make(rng, (heads, *shapes[0])).astype(dtype)
        painted = (1 + rng.permutation(heads)).tolist() if regions else None
        how = {"order": order, "separate_axis": axis, "order_z": order_z, "region_labels": painted}
        labels = labels_of_logits(logits, shapes[1], **how, slab=int(rng.integers(1, 9)))
        differing += assert_same_labels(labels, *stock_labels(logits, shapes[1], **how), painted)
        voxels += labels.size
    return differing / voxels


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_noise(dtype, setting):
    assert compare(noise, dtype, setting) < 5e-4


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_smooth_logits(dtype, setting):
    assert compare(smooth, dtype, setting, most=60) < 5e-4


@pytest.mark.parametrize("setting", SETTINGS)
def test_of_ties_the_first_class_wins(setting):
    assert compare(ties, "float16", setting) < 5e-4


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    ("make", "dtype"), [(noise, "float16"), (smooth, "float16"), (integers, "float16"), (noise, "float32")]
)
def test_regions_overlap_and_their_labels_do_not_ascend(make, dtype, setting):
    assert compare(make, dtype, setting, most=45, regions=True) < 5e-4


def line(*heads: list[float], dtype: str = "float16") -> np.ndarray:
    """Logits of an image with one row, which has a few columns."""
    return np.array(heads, dtype=dtype)[:, None, None]


def test_logits_are_rounded_before_they_are_compared():
    # in the middle 1025.0 and 1025.4, which float16 cannot tell apart
    logits = line([2046, 4], [2047, 3.8])
    assert labels_of_logits(logits, (1, 1, 1)).item() == stock_labels(logits, (1, 1, 1))[0].item() == 0
    assert labels_of_logits(logits.astype("float32"), (1, 1, 1)).item() == 1


def test_float64_logits_are_interpolated_in_float64():
    logits = line([2046, 4], [2047, 3 + 2e-9], dtype="float64")
    assert labels_of_logits(logits, (1, 1, 1)).item() == stock_labels(logits, (1, 1, 1))[0].item() == 1
    assert labels_of_logits(logits.astype("float32"), (1, 1, 1)).item() == 0


def test_of_equal_logits_the_first_wins_where_nothing_is_interpolated():
    assert labels_of_logits(np.zeros((7, 2, 3, 40), np.float16), (2, 3, 40)).max() == 0
    assert labels_of_logits(line([0, 1], [2, 1], [2, 0]), (1, 1, 2)).tolist() == [[[1, 0]]]


@pytest.mark.parametrize("other", [1.0, -1.0])
def test_float32_makes_one_half_of_the_smallest_positive_logits_of_a_region(other):
    tiny = np.arange(-4, 5) * 2.0**-24
    for value in tiny:
        logits = line([value, value, value], [other, -other, -other])
        for width in (3, 6):
            found = labels_of_logits(logits, (1, 1, width), region_labels=[2, 1])
            assert (found == stock_labels(logits, (1, 1, width), region_labels=[2, 1])[0]).all()


def test_the_last_region_is_painted_over_the_others():
    logits = line([1, 1, -1, 1], [-1, 1, 1, -1], [-1, -1, -1, 1])
    assert labels_of_logits(logits, (1, 1, 4), region_labels=[9, 300, 4]).tolist() == [[[9, 300, 300, 4]]]


@pytest.mark.parametrize(("classes", "dtype"), [(255, np.uint8), (256, np.uint16), (400, np.uint16)])
def test_more_than_255_classes_need_two_bytes(classes, dtype):
    logits = np.random.default_rng(classes).normal(size=(classes, 3, 4, 5)).astype(np.float16)
    logits[-1, 0, 0, 0] = 9
    labels = labels_of_logits(logits, (4, 6, 5))
    assert labels.dtype == dtype
    assert labels.max() == classes - 1
    assert assert_same_labels(labels, *stock_labels(logits, (4, 6, 5))) <= 1


class Largest(TorchDispatchMode):
    """Remembers the elements of the largest tensor that torch makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def test_many_voxels_between_classes_are_interpolated_in_parts():
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(200, 2, 30, 40)).astype(np.float16))
    with Largest() as largest:
        labels = labels_of_logits(logits, (1, 61, 82))
    assert assert_same_labels(labels, *stock_labels(logits.numpy(), (1, 61, 82))) <= 2
    assert 2**19 - 200 < largest.elements <= 2**19 < labels.size * len(logits)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite(value):
    logits = np.random.default_rng(0).normal(size=(5, 6, 7, 8)).astype(np.float16)
    logits[2, 3, 3, 3] = value
    assert (labels_of_logits(logits, (6, 7, 8)) == stock_labels(logits, (6, 7, 8))[0]).all()
    labels, (expected, _) = labels_of_logits(logits, (6, 14, 16)), stock_labels(logits, (6, 14, 16))
    far = np.ones(labels.shape, dtype=bool)
    far[2:5, 4:10, 4:10] = False  # nnU-Net multiplies values that are not finite by 0, too
    assert (labels[far] == expected[far]).all()


def test_arrays_and_tensors_that_are_not_contiguous_or_not_writable():
    logits = np.random.default_rng(0).normal(size=(4, 6, 7, 8)).astype(np.float16)
    expected = labels_of_logits(logits, (9, 8, 11))
    turned = np.ascontiguousarray(logits.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
    fixed, reverse = logits.copy(), logits[:, :, ::-1].copy()[:, :, ::-1]
    fixed.setflags(write=False)
    tensors = torch.from_numpy(logits.copy()), torch.from_numpy(turned).requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for each in (turned, fixed, reverse, *tensors):
            assert (labels_of_logits(each, (9, 8, 11)) == expected).all()


def test_logits_need_four_axes():
    with pytest.raises(ValueError, match=r"\(heads, D, H, W\), found \(2, 3, 4\)"):
        labels_of_logits(np.zeros((2, 3, 4)), (1, 3, 4))


def test_reversed_arrays_of_one_slice() -> None:
    """numpy calls them contiguous, whatever the stride of the axis of length 1; torch does not read them."""
    logits = np.random.default_rng(0).normal(size=(3, 1, 6, 5)).astype(np.float16)
    np.testing.assert_array_equal(labels_of_logits(logits[:, ::-1], (1, 9, 9)), labels_of_logits(logits, (1, 9, 9)))
