"""Patches lie around the foreground and inside the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunet_ext.adaptation.patches import foreground_patches

IMAGE = torch.arange(2 * 6 * 8 * 10, dtype=torch.float32).reshape(2, 6, 8, 10)


def drawn(place: tuple[int, int, int] | None, size: tuple[int, ...]) -> list[np.ndarray]:
    foreground = np.zeros((6, 8, 10), bool)
    if place is not None:
        foreground[place] = True
    return foreground_patches(IMAGE, foreground, size, 3, np.random.default_rng(0))


def test_around_the_voxel() -> None:
    patches = drawn((3, 4, 5), (2, 4, 4))
    assert len(patches) == 3
    for patch in patches:
        np.testing.assert_array_equal(patch, IMAGE[:, 2:4, 2:6, 3:7])


def test_moved_into_the_image() -> None:
    np.testing.assert_array_equal(drawn((0, 7, 9), (2, 4, 4))[0], IMAGE[:, :2, 4:, 6:])


def test_a_slice_for_a_2d_configuration() -> None:
    np.testing.assert_array_equal(drawn((3, 4, 5), (4, 4))[0], IMAGE[:, 3, 2:6, 3:7])


def test_padded_where_the_image_is_smaller() -> None:
    patch = drawn((3, 4, 5), (8, 8, 10))[0]
    np.testing.assert_array_equal(patch[:, 1:7], IMAGE)
    assert not patch[:, [0, 7]].any()
    assert drawn((3, 4, 5), (8, 12))[0].shape == (2, 8, 12)


@pytest.mark.parametrize("size", [(2, 4, 4), (4, 4)])
def test_anywhere_without_foreground(size: tuple[int, ...]) -> None:
    patches = drawn(None, size)
    assert [patch.shape for patch in patches] == [(2, *size)] * 3
    assert not np.array_equal(patches[0], patches[1])
