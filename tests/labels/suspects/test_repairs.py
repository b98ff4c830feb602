"""What moving a label gains, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.labels.suspects.label_pair import LabelPair
from nnunet_ext.labels.suspects.repairs import MIRRORED, SHIFTED, SWAPPED, class_shift, confusion, whole_repairs
from nnunet_ext.quality.grid import Grid

TWO = {"labels": {"background": 0, "one": 1, "two": 2}}


def pair_of(labels, prediction, description=TWO):
    labels, prediction = np.asarray(labels, np.int32), np.asarray(prediction, np.int32)
    grid = Grid(labels.shape, (1.0, 1.0, 1.0))
    return LabelPair.of(labels, prediction, np.ones(labels.shape, bool), grid, description=description)


def by_kind(pair):
    return {repair.kind: repair for repair in whole_repairs(pair)}


def box(place, size, shape=(12, 14, 16)):
    found = np.zeros(shape, np.int32)
    found[tuple(slice(start, start + length) for start, length in zip(place, size, strict=True))] = 1
    return found


@pytest.mark.parametrize("shift", [(3, 0, 0), (0, -2, 1), (5, 5, -5), (0, 0, 1)])
def test_a_shift_is_found_exactly(shift):
    prediction = box((5, 6, 7), (3, 4, 3), (16, 18, 18))
    found = by_kind(pair_of(np.roll(prediction, shift, (0, 1, 2)), prediction))[SHIFTED]
    assert (found.detail, found.dice) == (shift, 1.0)


def test_not_farther_than_five_voxels():
    prediction = box((2, 6, 7), (6, 4, 3), (20, 18, 18))
    found = by_kind(pair_of(np.roll(prediction, 7, 0), prediction))[SHIFTED]
    assert found.detail == (5, 0, 0)
    assert found.dice == pytest.approx(4 / 6)


def test_equal_maps_gain_nothing():
    labels = box((1, 2, 3), (4, 5, 6))
    assert whole_repairs(pair_of(labels, labels)) == []
    assert class_shift(pair_of(labels, labels), "one") is None


def test_a_flip():
    prediction = box((1, 2, 3), (3, 3, 3))
    found = by_kind(pair_of(np.flip(prediction, 2), prediction))[MIRRORED]
    assert (found.detail, found.dice, found.gain) == ((2,), 1.0, 1.0)


def test_an_exchange_of_two_classes():
    prediction = box((1, 1, 1), (2, 2, 2)) + 2 * box((6, 6, 6), (3, 3, 3))
    labels = np.array([0, 2, 1])[prediction]
    labels[1, 1, 1] = 1  # one of 8 voxels of the first class is right
    found = by_kind(pair_of(labels, prediction))[SWAPPED]
    assert found.detail == (1, 2)
    assert found.gain == pytest.approx(27 / 28)  # of label 1, which has 28 voxels; of label 2 all are taken for 1
    assert found.dice == pytest.approx(2 * (7 + 27) / (35 + 35))


def test_one_class_that_is_taken_for_another_is_no_exchange():
    prediction = box((1, 1, 1), (2, 2, 2))
    labels = 2 * prediction
    labels[6, 6, 6] = 1
    assert SWAPPED not in by_kind(pair_of(labels, prediction))


def test_one_class_alone_is_shifted():
    still, moved = box((1, 1, 1), (3, 3, 3)), box((6, 6, 6), (3, 3, 3))
    pair = pair_of(still + 2 * np.roll(moved, 2, 1), still + 2 * moved)
    assert class_shift(pair, "one") is None
    assert class_shift(pair, "two").detail == (0, 2, 0)


def test_confusion_counts_voxels():
    pair = pair_of([[[1, 1, 2, 0]]], [[[1, 2, 2, 2]]])
    assert confusion(pair).tolist() == [[0, 0, 1], [0, 1, 1], [0, 0, 1]]


def test_an_axis_of_one_voxel_is_not_mirrored():
    labels = np.zeros((1, 8, 8), np.int32)
    labels[0, 1:3, 1:3] = 1
    found = by_kind(pair_of(labels, np.flip(labels, 1)))
    assert found[MIRRORED].detail == (1,)


def test_a_shift_that_harms_a_class_is_not_that_of_the_whole_label():
    still, moved = box((1, 1, 1), (3, 3, 3)), box((6, 6, 6), (4, 4, 4))
    prediction = still + 2 * moved
    assert SHIFTED not in by_kind(pair_of(still + 2 * np.roll(moved, 3, 1), prediction))
    assert by_kind(pair_of(np.roll(prediction, 3, 1), prediction))[SHIFTED].detail == (0, 3, 0)


MERGED = {"labels": {"background": 0, "lesion": [1, 2]}, "regions_class_order": [1]}


def test_labels_that_are_in_the_same_regions_are_one():
    labels = box((1, 2, 3), (4, 5, 6))
    prediction = labels.copy()
    labels[1:3] *= 2
    pair = pair_of(labels, prediction, MERGED)
    assert confusion(pair)[1].tolist() == [0, 120]
    assert whole_repairs(pair) == []


def test_a_region_of_which_a_part_was_not_annotated():
    """The prediction has the value of that part, which no annotated region has."""
    nested = {"labels": {"background": 0, "organ": [1, 2], "tumour": [2]}, "regions_class_order": [1, 2]}
    labels = box((1, 2, 3), (4, 5, 6))
    prediction = labels.copy()
    prediction[1:3] *= 2
    counts = np.ones(labels.shape, bool)
    grid = Grid(labels.shape, (1.0, 1.0, 1.0))
    pair = LabelPair.of(labels, prediction, counts, grid, description=nested, unknown=("tumour",))
    assert confusion(pair)[1].tolist() == [0, 60, 60]
