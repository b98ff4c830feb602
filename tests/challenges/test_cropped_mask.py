"""Masks in boxes."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.challenges.cropped_mask import CroppedMask, box_around, moved

pytestmark = pytest.mark.smoke


def test_the_smallest_box() -> None:
    mask = np.zeros((4, 6, 8), bool)
    mask[1, 2, 6] = mask[2, 4, 3] = True
    found = CroppedMask.of(mask)
    assert found.box == (slice(1, 3), slice(2, 5), slice(3, 7))
    assert found.voxels.sum() == 2
    whole = tuple(slice(0, length) for length in mask.shape)
    assert (found.within(whole) == mask).all()
    part = (slice(1, 4), slice(1, 6), slice(2, 8))
    assert (found.within(part) == mask[part]).all()


def test_an_empty_mask() -> None:
    found = CroppedMask.of(np.zeros((4, 6, 8), bool))
    assert found.box is None
    assert not found.within((slice(1, 3), slice(0, 2), slice(0, 2))).any()
    assert found.within((slice(1, 3), slice(0, 2), slice(0, 1))).shape == (2, 2, 1)


def test_the_crop_keeps_nothing_of_the_image_in_memory() -> None:
    mask = np.ones((4, 6, 8), bool)
    assert CroppedMask.of(mask).voxels.base is None


def test_boxes() -> None:
    one, other = (slice(1, 3), slice(0, 2)), (slice(2, 4), slice(4, 5))
    assert box_around([one, other], (9, 9)) == (slice(1, 4), slice(0, 5))
    assert box_around([one, other], (4, 9), margin=2) == (slice(0, 4), slice(0, 7))
    assert box_around([], (4, 9), margin=1) == (slice(0, 1), slice(0, 1))
    assert moved(other, (slice(1, 5), slice(2, 9))) == (slice(1, 3), slice(2, 3))
