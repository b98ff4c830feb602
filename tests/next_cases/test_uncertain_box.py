"""The box in which predictions differ most."""

from __future__ import annotations

import numpy as np
import pytest
from small_model import write_small_model

from nnunet_ext.next_cases.uncertain_box import Box, uncertain_box, window_size
from nnunet_ext.prediction.trained_model import TrainedModel


def test_the_window_with_most_voxels_and_the_box_of_these():
    one, other = np.zeros((6, 8, 10), int), np.zeros((6, 8, 10), int)
    other[0, 0, 0:3] = 1  # three voxels of a window (2, 2, 3)
    other[3, 5, 7], other[4, 6, 7], other[4, 5, 9], other[3, 6, 8] = 1, 2, 3, 1  # four
    assert uncertain_box([one, other], (2, 2, 3)) == Box(first=(7, 5, 3), last=(9, 6, 4))


def test_a_window_of_one_slice_and_one_of_the_whole_image():
    one, other = np.zeros((4, 4, 4), int), np.zeros((4, 4, 4), int)
    other[1, 0, 0], other[2, 3, 1], other[2, 0, 3] = 1, 1, 1
    assert uncertain_box([one, other], (1, 4, 4)) == Box((1, 0, 2), (3, 3, 2))
    assert uncertain_box([one, other], (4, 4, 4)) == Box((0, 0, 1), (3, 3, 2))


def test_any_of_several_maps_counts():
    maps = [np.zeros((2, 2, 2), int) for _ in range(3)]
    maps[1][0, 0, 1] = 1
    maps[2][1, 1, 0] = 2
    assert uncertain_box(maps, (2, 2, 2)) == Box((0, 0, 0), (1, 1, 1))


def test_equal_maps():
    assert uncertain_box([np.ones((2, 2, 2))] * 2, (1, 1, 1)) is None


@pytest.mark.parametrize(
    ("options", "spacing", "shape", "expected"),
    [
        # patch 8 x 16 x 12 at 2 x 1 x 1 mm
        ({}, (1.0, 1.0, 2.0), (100, 100, 100), (16, 16, 6)),
        ({}, (1.0, 1.0, 2.0), (21, 8, 100), (11, 4, 6)),
        ({}, (100.0, 1.0, 1.0), (1, 100, 100), (1, 16, 12)),
        ({"transpose": (1, 0, 2)}, (1.0, 2.0, 1.0), (100, 100, 100), (16, 8, 12)),
        ({"patch_size": [16, 12], "spacing": [1.0, 0.5]}, (3.0, 0.5, 1.0), (9, 100, 100), (1, 32, 6)),
    ],
)
def test_the_window_is_the_patch_but_at_most_half_of_the_image(tmp_path, options, spacing, shape, expected):
    model = TrainedModel.load(write_small_model(tmp_path, **options))
    assert window_size(model, shape, {"spacing": spacing}) == expected
