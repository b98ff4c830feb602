"""Random label maps against nnU-Net's function: every voxel that differs is a tie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg

from nnunet_ext.errors import UserError
from nnunet_ext.resampling.axis_matrix import axis_matrix, coarse_axis_matrix
from nnunet_ext.resampling.label_maps import resample_label_maps

DTYPES = ("uint8", "int8", "int16", "int32", "int64", "uint16", "float16", "float32", "float64")
SPLIT: tuple[tuple[int | None, int], ...] = ((None, 0), *((axis, order) for axis in range(3) for order in (0, 1, 3)))
TIED = 1e-9


def stock(labels: np.ndarray, shape: Any, order: int, separate_axis: int | None, order_z: int) -> np.ndarray:
    return resample_data_or_seg(labels, shape, True, separate_axis, order, separate_axis is not None, order_z=order_z)


def along_all(matrices: list[np.ndarray], mask: np.ndarray) -> np.ndarray:
    return np.einsum("ai,bj,ck,ijk->abc", *matrices, mask.astype(float), optimize=True)


def check_shares(labels: np.ndarray, made: np.ndarray, expected: np.ndarray, order: int) -> None:
    """Each label's share of each voxel, by whole matrices: the rule for ties holds, and only ties differ."""
    pairs = list(zip(labels.shape, made.shape, strict=True))
    values = np.unique(labels)
    shares = np.stack([along_all([axis_matrix(*pair, order) for pair in pairs], labels == each) for each in values])
    shares = shares.clip(0, 1)
    picks = [axis_matrix(*pair, 0).argmax(1) for pair in pairs]
    nearest = labels[np.ix_(*picks)]
    tied = shares >= shares.max(0) - TIED
    near_tied = (tied & (values[:, None, None, None] == nearest)).any(0)
    np.testing.assert_array_equal(made, np.where(near_tied, nearest, values[tied.argmax(0)]))
    assert (tied.sum(0) > 1)[made != expected].all()


def check_thick(flat: np.ndarray, made: np.ndarray, axis: int, order_z: int) -> None:
    """Slices that are resampled in their planes, resampled along the axis: as nnU-Net, but where a share is a half."""
    expected = stock(flat[None], made.shape, 0, axis, order_z)[0]
    differs = made != expected
    if order_z == 0:
        assert not differs.any()
        return
    matrix = coarse_axis_matrix(flat.shape[axis], made.shape[axis], order_z)
    shares = [np.moveaxis(np.tensordot(matrix, flat == each, (1, axis)), 0, axis) for each in np.unique(flat)]
    assert (np.abs(np.stack(shares) - 0.5).min(0) < TIED)[differs].all()


def check(labels: np.ndarray, shape: Any, order: int, separate_axis: int | None = None, order_z: int = 0) -> None:
    before = labels.copy()
    options: dict[str, Any] = {"order": order, "separate_axis": separate_axis, "order_z": order_z}
    made = resample_label_maps(labels, shape, **options)
    assert type(made) is np.ndarray
    assert (made.dtype, made.shape) == (labels.dtype, (len(labels), *shape))
    by_torch = resample_label_maps(torch.from_numpy(labels), shape, **options)
    assert by_torch.dtype == torch.from_numpy(labels).dtype
    np.testing.assert_array_equal(by_torch.numpy(), made)
    np.testing.assert_array_equal(labels, before)
    if list(labels.shape[1:]) == list(shape):
        return
    if separate_axis is None:
        expected = stock(labels, shape, order, None, 0)
        for channel, one, other in zip(labels, made, expected, strict=True):
            check_shares(channel, one, other, order)
        return
    within = list(shape)
    within[separate_axis] = labels.shape[1 + separate_axis]
    flat = resample_label_maps(labels, within, order=order, separate_axis=separate_axis)
    expected = stock(labels, within, order, separate_axis, 0)
    for index, channel in enumerate(labels):
        for place in range(channel.shape[separate_axis]):
            here = (slice(None),) * separate_axis + (slice(place, place + 1),)
            check_shares(channel[here], flat[index][here], expected[index][here], order)
        check_thick(flat[index], made[index], separate_axis, order_z)


@pytest.mark.parametrize("seed", range(16))
def test_as_nnunet(seed: int):
    """20 label maps for each seed: blocks and noise; labels -1 to 300."""
    rng = np.random.default_rng(seed)
    for case in range(20):
        order = int(rng.choice([0, 1, 1, 1, 1, 3, int(rng.choice([2, 4, 5]))]))
        separate_axis, order_z = SPLIT[rng.integers(len(SPLIT))] if case % 2 else (None, 0)
        source = [int(rng.choice([1, rng.integers(2, 9), rng.integers(9, 20)], p=[0.1, 0.5, 0.4])) for _ in range(3)]
        shape = [size if rng.random() < 0.2 else int(rng.integers(1, 24)) for size in source]
        if rng.random() < 0.1:
            shape = [2 * size for size in source]  # many ties
        dtype = np.dtype(DTYPES[rng.integers(len(DTYPES))])
        low = 0 if dtype.kind == "u" else -1
        high = 120 if dtype == np.int8 else 250 if dtype == np.uint8 else 300
        names = rng.integers(low, high, size=int(rng.choice([1, 2, 4, 12])))
        coarse = rng.integers(len(names), size=(int(rng.integers(1, 3)), *[1 + size // 3 for size in source]))
        labels = names[coarse].repeat(3, 1).repeat(3, 2).repeat(3, 3)[:, : source[0], : source[1], : source[2]]
        noisy = rng.random(labels.shape) < rng.choice([0, 0.2, 1])
        labels = np.where(noisy, rng.choice(names, size=labels.shape), labels).astype(dtype)
        check(labels, shape, order, separate_axis, order_z)


@pytest.mark.parametrize("separate_axis", [None, 1])
def test_three_hundred_classes(separate_axis: int | None):
    labels = np.random.default_rng(1).integers(300, size=(1, 9, 8, 10)).astype(np.uint16)
    assert labels.max() > 255
    check(labels, (13, 11, 7), 1, separate_axis)


def test_many_slabs():
    """More output slices than one block of a matrix has rows."""
    labels = (np.random.default_rng(1).random((1, 50, 5, 6)) < 0.5).astype(np.int8)
    for order in (1, 3):
        check(labels, (75, 4, 7), order)


@pytest.mark.smoke
def test_linear_numbers():
    """Voxel i of 6 is at (i + 0.5) * 4 / 6 - 0.5 of 4: voxel 2 at 1.17, voxel 3 at 1.83."""
    labels = np.array([0, 0, 7, 7]).reshape(1, 1, 1, 4)
    assert resample_label_maps(labels, (1, 1, 6)).ravel().tolist() == [0, 0, 0, 7, 7, 7]


def test_a_tie_goes_to_the_nearest_voxel():
    """Voxels 0 and 1 of 2 lie halfway between two of 4; the nearest is the one that scikit-image takes with order 0."""
    for values in ([1, 5, 5, 1], [5, 1, 1, 5]):
        labels = np.array(values, np.int8).reshape(1, 1, 1, 4)
        nearest = stock(labels, (1, 1, 2), 0, None, 0)
        np.testing.assert_array_equal(resample_label_maps(labels, (1, 1, 2)), nearest)
        np.testing.assert_array_equal(stock(labels, (1, 1, 2), 1, None, 0), nearest)


@pytest.mark.smoke
def test_a_tie_without_the_nearest_goes_to_the_smallest():
    """Batchgenerators' example: at the centre, 1 and 2 have 3/8 each, and the nearest voxel is a 3."""
    labels = np.array([3, 1, 1, 1, 2, 2, 2, 3], np.int8).reshape(1, 2, 2, 2)
    assert resample_label_maps(labels, (1, 1, 1)).item() == stock(labels, (1, 1, 1), 1, None, 0).item() == 1
    swapped = np.array([3, 2, 2, 2, 1, 1, 1, 3], np.int8).reshape(1, 2, 2, 2)
    assert resample_label_maps(swapped, (1, 1, 1)).item() == stock(swapped, (1, 1, 1), 1, None, 0).item() == 1


def test_a_tie_of_splines_without_the_nearest_goes_to_the_smallest():
    """The same by masks."""
    for values in ([3, 1, 1, 1, 2, 2, 2, 3], [3, 2, 2, 2, 1, 1, 1, 3]):
        check(np.array(values, np.int8).reshape(1, 2, 2, 2), (1, 1, 1), 3)


def test_overshooting_splines_tie():
    """Labels 1 and 2 share the positive weights of the voxel at the centre: both overshoot 1, and are clipped to a tie.

    Label 2 has the nearest voxel, and label 1 the larger sum before clipping.
    """
    source, target = 10, 9
    weights = axis_matrix(source, target, 5)[target // 2]
    picked = int(axis_matrix(source, target, 0)[target // 2].argmax())
    cube = np.einsum("i,j,k->ijk", weights, weights, weights)
    labels = np.where(cube > 0, 1, 3).astype(np.int8)
    labels[picked, picked, picked] = 2
    for place in np.argsort(-cube, axis=None):
        if cube[labels == 2].sum() < 1.01:
            labels.flat[place] = 2
    sums = [cube[labels == label].sum() for label in (1, 2)]
    assert sums[0] > sums[1] > 1
    assert resample_label_maps(labels[None], (target,) * 3, order=5)[0, target // 2, target // 2, target // 2] == 2
    check(labels[None], (target,) * 3, 5)


def test_corners_of_one_label_add_up():
    """At the centre of 2x2x2, label 2 has 2/8 and six others have 1/8 each."""
    labels = np.array([1, 2, 3, 4, 5, 6, 7, 2], np.int16).reshape(1, 2, 2, 2)
    assert resample_label_maps(labels, (1, 1, 1)).item() == 2


@pytest.mark.smoke
def test_thick_slices():
    """Of 2 slices, slice 1 of 3 is a tie: nobody has more than half, which leaves 0. With nearest, one is copied."""
    labels = np.array([4, 6], np.uint8).reshape(1, 2, 1, 1).repeat(2, 2)
    assert resample_label_maps(labels, (3, 2, 1), separate_axis=0, order_z=1)[0, :, 0, 0].tolist() == [4, 0, 6]
    copied = resample_label_maps(labels, (3, 2, 1), separate_axis=0)[0, :, 0, 0].tolist()
    assert copied == stock(labels, (3, 2, 1), 1, 0, 0)[0, :, 0, 0].tolist()
    assert set(copied) == {4, 6}


def test_a_later_label_paints_over_an_earlier_one():
    """A cubic spline across -1, 5, -1: shares above a half in two labels do not occur, but undershoots do."""
    labels = np.array([5, -1, 5, 5, -1, -1, 5], np.int8).reshape(1, 7, 1, 1)
    check(labels, (19, 1, 1), 1, 0, 3)


def test_other_layouts():
    labels = np.random.default_rng(7).integers(4, size=(2, 5, 6, 7)).astype(np.int8)
    expected = resample_label_maps(labels, (4, 8, 9))
    fixed = labels.copy()
    fixed.setflags(write=False)
    np.testing.assert_array_equal(resample_label_maps(fixed, (4, 8, 9)), expected)
    turned = np.asfortranarray(labels)
    for order in (1, 3):
        np.testing.assert_array_equal(
            resample_label_maps(turned, (4, 8, 9), order=order), resample_label_maps(labels, (4, 8, 9), order=order)
        )


def test_nothing_to_do_is_no_copy():
    labels = np.zeros((1, 2, 3, 4), np.int8)
    assert resample_label_maps(labels, (2, 3, 4)) is labels
    tensor = torch.zeros(1, 2, 3, 4, dtype=torch.int16)
    assert resample_label_maps(tensor, (2, 3, 4), separate_axis=1) is tensor


@pytest.mark.parametrize("separate_axis", [None, 0, 1])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_no_voxels(separate_axis: int | None, order: int):
    for source, shape in (((1, 0, 4, 5), (3, 4, 5)), ((2, 3, 4, 5), (3, 0, 6)), ((0, 3, 4, 5), (2, 2, 2))):
        made = resample_label_maps(np.ones(source, np.int8), shape, order=order, separate_axis=separate_axis)
        assert made.shape == (source[0], *shape)
        assert not made.any()


def test_wrong_sizes():
    with pytest.raises(UserError, match="resample_label_maps: expected an array"):
        resample_label_maps(np.zeros((3, 3, 4), np.int8), (5, 6, 7))
