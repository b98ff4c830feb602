"""Distances worked out by hand."""

import math

import numpy as np
import pytest

from nnunet_ext.evaluation.hausdorff import hausdorff_95

pytestmark = pytest.mark.smoke


def mask(shape, *places):
    found = np.zeros(shape, bool)
    for place in places:
        found[place] = True
    return found


def test_two_voxels_are_as_far_apart_as_the_spacing_says():
    one, other = mask((5, 6, 7), (1, 2, 3)), mask((5, 6, 7), (3, 2, 3))
    assert hausdorff_95(one, other, (2.5, 1.0, 0.5)) == 5.0
    assert hausdorff_95(one, other, (0.5, 1.0, 2.5)) == 1.0


def test_both_directions_are_pooled():
    """Surfaces {0} and {0, 9}, 2 mm apart: distances 0 and 0, 18; the larger of two percentiles would be 17.1."""
    one, other = mask((1, 1, 21), (0, 0, 0)), mask((1, 1, 21), (0, 0, slice(10)))
    assert hausdorff_95(one, other, (9.0, 9.0, 2.0)) == pytest.approx(16.2)
    assert hausdorff_95(other, one, (9.0, 9.0, 2.0)) == pytest.approx(16.2)


def test_voxels_inside_are_no_surface_in_two_axes_neither():
    """A square and the same with a hole in the middle have the same ring of surface voxels."""
    square = mask((1, 6, 6), (0, slice(1, 4), slice(2, 5)))
    ring = square.copy()
    ring[0, 2, 3] = False
    assert hausdorff_95(square, ring, (999.0, 1.0, 1.0)) == 0.0


def test_the_surroundings_do_not_count():
    rng = np.random.default_rng(1)
    one, other = np.zeros((2, 12, 13, 14), bool)
    one[3:9, 2:8, 4:11] = rng.random((6, 6, 7)) < 0.7
    other[2:8, 3:9, 4:11] = rng.random((6, 6, 7)) < 0.7
    whole = hausdorff_95(one, other, (3.0, 1.0, 2.0))
    assert whole is not None
    assert whole > 0
    wider = [np.pad(each, ((4, 5), (0, 7), (1, 2))) for each in (one, other)]
    assert hausdorff_95(*wider, (3.0, 1.0, 2.0)) == whole


def test_empty_masks():
    empty, voxel = mask((3, 4, 5)), mask((3, 4, 5), (1, 1, 1))
    assert hausdorff_95(empty, empty, (2.0, 1.0, 1.0)) is None
    assert hausdorff_95(empty, voxel, (2.0, 1.0, 1.0)) == pytest.approx(math.sqrt(4**2 + 3**2 + 4**2))
    assert hausdorff_95(voxel, empty, (2.0, 1.0, 1.0)) == pytest.approx(math.sqrt(41))
