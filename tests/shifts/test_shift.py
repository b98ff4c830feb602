"""The fixed shifts: in a channel's own range, repeatable, the outside stays outside."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.shifts.shift import KINDS, SHIFTS, Shift

SPACING = (1.0, 1.0, 1.0)
IMAGE = np.random.default_rng(0).normal(100, 20, (2, 6, 8, 8)).astype(np.float32)


def test_each_kind_at_two_strengths() -> None:
    assert [shift.name for shift in SHIFTS] == [
        "gamma 0.5",
        "gamma 2",
        "bias field 0.4",
        "bias field 0.7",
        "noise 0.1",
        "noise 0.2",
        "blur 1.2",
        "blur 2",
        "resolution 2",
        "resolution 3",
        "inversion 0.5",
        "inversion 1",
    ]
    assert {shift.kind for shift in SHIFTS} == set(KINDS)


@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: shift.name)
def test_a_case_gets_the_same_shift_each_time(shift: Shift) -> None:
    before = IMAGE.copy()
    found = shift.of(IMAGE, SPACING, "case_1")
    assert found.dtype == np.float32
    assert found.shape == IMAGE.shape
    assert np.abs(found - IMAGE).max() > 1
    np.testing.assert_array_equal(IMAGE, before)
    np.testing.assert_array_equal(found, shift.of(IMAGE, SPACING, "case_1"))
    if shift.kind in ("bias field", "noise"):
        assert not np.array_equal(found, shift.of(IMAGE, SPACING, "case_2"))
        assert not np.array_equal(found[0] / IMAGE[0], found[1] / IMAGE[1])


def test_both_strengths_draw_the_same() -> None:
    own = IMAGE[0] - IMAGE[0].min()
    bright = own > 10
    one, other = (
        (Shift("bias field", strength).of(IMAGE, SPACING, "case")[0] - IMAGE[0])[bright] / own[bright] / strength
        for strength in (0.4, 0.7)
    )
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: shift.name)
def test_a_channel_is_changed_in_its_own_range(shift: Shift) -> None:
    """As if the file had other units: CT in HU, or MR times 10."""
    other = shift.of(IMAGE * 10 - 2000, SPACING, "case_1")
    np.testing.assert_allclose(other, shift.of(IMAGE, SPACING, "case_1") * 10 - 2000, rtol=0, atol=0.02)


def test_the_range_is_from_the_darkest_voxel_to_the_percentile() -> None:
    line = np.arange(1, 202, dtype=np.int16).reshape(1, 1, 1, 201)  # 99.5th percentile: 200
    found = Shift("gamma", 2.0).of(line, SPACING, "case").ravel()
    np.testing.assert_allclose(found[[0, 100, 199, 200]], [1, 10000 / 199 + 1, 200, 40000 / 199 + 1], rtol=1e-5)


@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: shift.name)
def test_the_outside_stays_zero(shift: Shift) -> None:
    image = IMAGE.copy()
    image[:, :, :2] = 0  # the border of both channels
    image[0, :, 5] = 0  # of one channel: inside
    found = shift.of(image, SPACING, "case")
    assert (found[:, :, :2] == 0).all()
    if shift.kind in ("inversion", "noise"):
        assert (found[0, :, 5] != 0).all()


@pytest.mark.parametrize("kind", ["blur", "resolution"])
def test_the_outside_is_no_darker_than_the_darkest_voxel(kind: str) -> None:
    """Else a skull-stripped head would get a dark rim."""
    image = np.clip(IMAGE, 80, None)
    image[:, :, :3] = 0
    assert Shift(kind, 2.0).of(image, SPACING, "case")[:, :, 3:].min() >= 80 - 1e-3


def test_zeros_that_are_enclosed_are_no_outside() -> None:
    image = IMAGE.copy()
    image[:, 2:4, 3:5, 3:5] = 0
    assert (Shift("inversion", 1.0).of(image, SPACING, "case")[:, 2:4, 3:5, 3:5] > 50).all()


def test_a_channel_without_contrast_is_not_changed() -> None:
    image = np.stack([np.full((2, 3, 3), 7.0), np.zeros((2, 3, 3))]).astype(np.float32)
    for shift in SHIFTS:
        np.testing.assert_array_equal(shift.of(image, SPACING, "case"), image)
