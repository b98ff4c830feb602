"""The four conditions, literally."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.labels.suspects.correction import corrected

LABELS, PREDICTION = np.array([0, 1, 1, 2], np.uint8), np.array([1, 1, 0, 1], np.uint8)
CHANCES = np.array([0.95, 0.6, 0.95, 0.95])


@pytest.mark.parametrize(
    ("tau", "flagged", "ignore", "expected"),
    [
        (0.9, {1}, None, [1, 1, 0, 2]),  # the last voxel: its old label is not flagged
        (0.99, {1}, None, [0, 1, 1, 2]),
        (0.9, {1, 2}, None, [1, 1, 0, 1]),
        (0.9, {1}, 3, [3, 1, 3, 2]),
        (0.9, set(), None, [0, 1, 1, 2]),
        (0.9, {2}, None, [0, 1, 1, 2]),  # the new label is not flagged
    ],
)
def test_the_literal_example(tau, flagged, ignore, expected):
    found = corrected(LABELS, PREDICTION, tau < CHANCES, flagged, ignore=ignore)
    assert found.tolist() == expected
    assert found.dtype == LABELS.dtype


def test_no_class_is_introduced():
    labels, prediction = np.array([0, 0, 1]), np.array([2, 1, 0])
    everywhere = np.ones(3, bool)
    assert corrected(labels, prediction, everywhere, {1, 2}).tolist() == [0, 1, 0]
    assert corrected(labels, prediction, everywhere, {1, 2}, ignore=3).tolist() == [0, 3, 3]


def test_an_unsure_voxel_with_another_label_stays():
    assert corrected(np.array([1, 1]), np.array([0, 0]), np.array([True, False]), {1}).tolist() == [0, 1]


def test_a_label_without_background_voxels_can_become_background():
    assert corrected(np.array([1, 1]), np.array([0, 1]), np.ones(2, bool), {1}).tolist() == [0, 1]
