"""Which slices are annotated, along which axis."""

import numpy as np
import pytest

from nnunet_ext.labels.propagation.annotated_slices import annotated_slices, annotation_axis


def ignored(axis: int, kept: list[int], shape=(8, 10, 12)) -> np.ndarray:
    found = np.ones(shape, bool)
    np.moveaxis(found, axis, 0)[kept] = False
    return found


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_axis_is_found(axis):
    found = ignored(axis, [0, 3, 7])
    assert annotation_axis(found) == axis
    assert annotated_slices(found, axis).tolist() == [0, 3, 7]
    assert all(annotated_slices(found, other).size == 0 for other in {0, 1, 2} - {axis})


def test_slices_with_ignored_voxels():
    found = ignored(0, [0, 4])
    found[4, 0, :6] = True  # 6 of 120
    assert annotated_slices(found, 0).tolist() == [0]
    assert annotated_slices(found, 0, 0.95).tolist() == [0, 4]
    assert annotated_slices(found, 0, 0.951).tolist() == [0]


def test_margins_are_ignored_in_all_slices():
    """Along another axis, nearly all slices are annotated by half."""
    found = ignored(0, [0, 2, 4, 6])
    found[:, :, 8:] = True  # a third of each
    assert annotation_axis(found, 0.25) == annotation_axis(found, 0.6) == 0
    assert annotation_axis(found) is None


def test_nothing_is_annotated():
    assert annotation_axis(np.ones((4, 5, 6), bool)) is None
    scribble = np.ones((4, 5, 6), bool)
    scribble[2, 2, 1:5] = False
    assert annotation_axis(scribble) is None


def test_all_is_annotated():
    assert annotation_axis(np.zeros((4, 5, 6), bool)) == 0


def test_the_axis_with_the_larger_share_of_clear_slices():
    """Along either axis some slices are annotated as a whole; the others are only partly ignored."""
    found = ignored(2, [0, 4, 8])  # 3 of 12
    found[0] = False  # 1 of 8
    assert annotation_axis(found) == 2
    found[1:3] = False  # 3 of 8
    assert annotation_axis(found) == 0
