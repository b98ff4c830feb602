"""One class by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.labels.suspects.class_measures import class_measures
from nnunet_ext.labels.suspects.label_pair import LabelPair
from nnunet_ext.quality.grid import Grid

ONE = {"labels": {"background": 0, "organ": 1, "other": 2}}


def measured(labels, prediction, sure=None, spacing=(1.0, 1.0, 1.0), name="organ"):
    labels, prediction = np.asarray(labels, np.int32), np.asarray(prediction, np.int32)
    grid = Grid(labels.shape, spacing)
    pair = LabelPair.of(labels, prediction, np.ones(labels.shape, bool), grid, description=ONE)
    return class_measures(pair, name, sure, (None, 0.0), None)


def cube(start, size, shape=(20, 20, 20)):
    found = np.zeros(shape, np.int32)
    found[tuple(slice(place, place + size) for place in start)] = 1
    return found


def test_equal_maps():
    found = measured(cube((5, 5, 5), 8), cube((5, 5, 5), 8))
    assert (found.dice, found.nsd, found.distance) == (1.0, 1.0, 0.0)
    assert (found.missed.count, found.extra.count) == (0, 0)
    assert found.size == pytest.approx(0.512)


def test_a_class_that_neither_has():
    assert measured(cube((5, 5, 5), 8), cube((5, 5, 5), 8), name="other") is None


def test_the_label_is_two_voxels_smaller_on_all_sides():
    small, large = cube((7, 7, 7), 4), cube((5, 5, 5), 8)
    assert measured(small, large).distance == -2.0
    assert measured(small, large, spacing=(0.5, 0.5, 0.5)).distance == -1.0
    assert measured(large, small).distance > 2.0  # corners are farther away
    assert measured(small, large).dice == pytest.approx(2 * 64 / (64 + 512))


def test_surface_dice_and_dice_do_not_know_the_spacing():
    one, other = cube((5, 5, 5), 8), cube((6, 5, 5), 8)
    found = [measured(one, other, spacing=spacing) for spacing in ((1.0, 1.0, 1.0), (9.0, 3.0, 1.0))]
    assert found[0].nsd == found[1].nsd == 1.0  # one voxel apart, of a tolerance of two
    assert found[0].dice == found[1].dice
    assert measured(cube((5, 5, 5), 8), cube((8, 5, 5), 8), spacing=(0.1, 0.1, 0.1)).nsd < 1.0  # three voxels


def test_components_that_the_other_map_does_not_touch():
    both, alone, tiny = cube((2, 2, 2), 4), cube((10, 11, 12), 3), cube((17, 17, 17), 1)
    found = measured(both, both + alone + tiny)
    assert (found.missed.count, found.missed.largest, found.missed.centre) == (2, 27, (11, 12, 13))
    assert found.extra.count == 0
    found = measured(both + alone + tiny, both)
    assert (found.extra.count, found.extra.largest, found.extra.centre) == (2, 27, (11, 12, 13))
    assert found.missed.count == 0
    assert found.distance == 0.0, "components that the prediction does not touch do not count"


@pytest.mark.parametrize(("confident", "weight"), [(9, 27), (8, 8), (0, 0)])
def test_a_component_weighs_by_its_confident_voxels(confident, weight):
    both, alone = cube((2, 2, 2), 4), cube((10, 11, 12), 3)
    sure = np.zeros(both.shape, bool)
    sure[tuple(np.argwhere(alone)[:confident].T)] = True
    missed = measured(both, both + alone, sure).missed
    assert (missed.count, missed.largest, missed.weight) == (1, 27, weight)
    assert measured(both, both + alone).missed.weight == 27


def test_confident_disagreement_by_direction():
    label, prediction = cube((5, 5, 5), 4), cube((7, 5, 5), 4)
    found = measured(label, prediction, np.ones(label.shape, bool))
    assert (found.inside, found.outside) == (0.5, 0.5)
    sure = np.zeros(label.shape, bool)
    sure[9:] = True  # half of the predicted background voxels
    sure[5, 5, 5] = True
    found = measured(label, prediction, sure)
    assert (found.inside, found.outside) == (0.5, 1 / 64)
    other = np.where((prediction == 0) & (label == 1), 2, prediction)
    assert measured(label, other, np.ones(label.shape, bool)).outside == 0.0, "another class is no background"
    assert measured(label, prediction).inside is None


def test_a_2d_image_has_contours():
    small, large = np.zeros((2, 1, 20, 20), np.int32)
    small[0, 7:11, 7:11] = large[0, 5:13, 5:13] = 1
    assert measured(small, large).distance == -2.0


def test_a_class_of_only_one_map():
    label, nothing = cube((5, 5, 5), 4), np.zeros((20, 20, 20), np.int32)
    found = measured(label, nothing)
    assert (found.labelled, found.predicted, found.dice, found.nsd, found.distance) == (64, 0, 0.0, 0.0, None)
