"""Shifts of resolution against numbers worked out by hand."""

from __future__ import annotations

import numpy as np

from nnunet_ext.shifts.resolution import blur, down_sampling


def test_down_sampling_averages_blocks_and_interpolates_between_their_centres() -> None:
    line = np.float32([0, 2, 4, 6, 8]).reshape(1, 1, 5)  # blocks of 2: 1, 5, 8 (the last voxel twice)
    found = down_sampling(line, 2, (1, 1, 1))
    np.testing.assert_allclose(found.ravel(), [1, 2, 4, 5.75, 7.25])
    plane = np.float32([[0, 4], [4, 8]])[None]
    np.testing.assert_allclose(down_sampling(plane, 2, (5, 1, 1)), np.full((1, 2, 2), 4))


def test_down_sampling_leaves_coarse_axes() -> None:
    image = np.random.default_rng(0).normal(size=(4, 6, 6)).astype(np.float32)
    thick = down_sampling(image, 2, (3.0, 1.0, 1.0))
    np.testing.assert_array_equal(thick[0], down_sampling(image[:1], 2, (3.0, 1.0, 1.0))[0])
    assert not np.array_equal(down_sampling(image, 2, (1.0, 1.0, 1.0))[0], thick[0])


def test_blur_is_equally_wide_in_mm() -> None:
    point = np.zeros((21, 21, 21), np.float32)
    point[10, 10, 10] = 1
    found = blur(point, 1.2, (2.0, 1.0, 1.0))
    for axis, voxels in enumerate((0.6, 1.2, 1.2)):
        profile = found.sum(tuple(other for other in range(3) if other != axis))
        assert abs(np.sqrt((profile * (np.arange(21) - 10) ** 2).sum()) - voxels) < 0.01
