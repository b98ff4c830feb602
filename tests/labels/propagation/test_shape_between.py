"""The shape between two slices: numbers by hand, symmetries, ends."""

import numpy as np
import pytest
from scipy.ndimage import shift

from nnunet_ext.labels.propagation.shape_between import ShapeBetween
from nnunet_ext.labels.propagation.signed_distance import signed_distance


def span(first: int, last: int, size: int) -> np.ndarray:
    found = np.zeros((1, size), bool)
    found[0, first : last + 1] = True
    return found


def inside(lower: np.ndarray, upper: np.ndarray, t: float = 0.5, **options) -> list[int]:
    return np.flatnonzero(ShapeBetween.of(lower, upper, (1, 1), **options).at(t)[0] > 1e-6).tolist()


def test_averages_without_alignment():
    """Of the middle row of three: with one row, all of it would be border."""
    lower, upper = np.zeros((2, 11, 10), bool)
    lower[:, 2:6] = upper[:, 4:8] = True
    found = ShapeBetween.of(lower, upper, (1, 1), align=False).at(0.5)
    expected = [-3, -2, -0.5, 0.5, 1.5, 1.5, 0.5, -0.5, -2, -3]
    places = np.isfinite(found[5])
    assert found[5][places].tolist() == np.array(expected)[places].tolist()
    assert np.flatnonzero(found[5] > 0).tolist() == [3, 4, 5, 6]


def test_disjoint_masks_vanish_without_alignment_and_move_with_it():
    lower, upper = np.zeros((2, 11, 13), bool)
    lower[:, 2:5] = upper[:, 8:11] = True
    assert not (ShapeBetween.of(lower, upper, (1, 1), align=False).at(0.5) > 0).any()
    found = ShapeBetween.of(lower, upper, (1, 1)).at(0.5)[5]
    assert np.flatnonzero(found > 0).tolist() == [5, 6, 7]
    assert found[5:8].tolist() == [1, 2, 1]


def test_distance_zero_is_outside():
    assert inside(span(2, 4, 12), span(7, 9, 12)) == [5, 6]


def test_ends_are_reproduced_and_equal_ends_have_equal_middles():
    rng = np.random.default_rng(0)
    for _ in range(5):
        lower, upper = rng.random((2, 12, 14)) > 0.6
        for options in ({}, {"align": False}):
            between = ShapeBetween.of(lower, upper, (2.0, 0.7), **options)
            assert np.array_equal(between.at(0) > 1e-6, lower)
            assert np.array_equal(between.at(1) > 1e-6, upper)
        for t in (0.25, 0.5, 0.9):
            assert np.array_equal(ShapeBetween.of(lower, lower, (2.0, 0.7)).at(t) > 1e-6, lower)


def test_a_component_without_counterpart_ends_before_the_middle():
    one, none = span(2, 4, 9), np.zeros((1, 9), bool)
    assert [inside(one, none, t) for t in (0.25, 0.5, 0.75)] == [[2, 3, 4], [], []]
    assert [inside(none, one, t) for t in (0.25, 0.5, 0.75)] == [[], [], [2, 3, 4]]
    assert inside(none, none) == []
    two = span(2, 4, 20) | span(15, 16, 20)
    assert inside(two, span(2, 4, 20), 0.4) == [2, 3, 4, 15, 16]
    assert inside(two, span(2, 4, 20), 0.6) == [2, 3, 4]


def test_components_move_one_by_one():
    lower, upper = span(2, 4, 30) | span(20, 22, 30), span(6, 8, 30) | span(24, 26, 30)
    assert inside(lower, upper) == [4, 5, 6, 22, 23, 24]


def test_branches_are_copied_from_the_nearer_slice():
    trunk, branches = span(2, 12, 16), span(2, 4, 16) | span(10, 12, 16)
    assert inside(trunk, branches, 0.3) == list(range(2, 13))
    assert inside(trunk, branches, 0.7) == [2, 3, 4, 10, 11, 12]
    high = [np.repeat(each, 9, axis=0) for each in (trunk, branches)]
    found = [ShapeBetween.of(*high, (1, 1), align=align).at(0.7) > 0 for align in (True, False)]
    assert np.array_equal(found[0], high[1])
    assert not np.array_equal(found[1], high[1])


def disc(centre: tuple[float, float], radius: float, spacing: tuple[float, float], shape=(40, 80)) -> np.ndarray:
    """A disc in mm."""
    places = np.indices(shape) * np.reshape(spacing, (2, 1, 1))
    return np.hypot(*(places - np.reshape(centre, (2, 1, 1)))) < radius


def test_a_disc_stays_a_disc_in_mm():
    spacing = (2.0, 1.0)
    found = ShapeBetween.of(disc((40, 36), 20, spacing), disc((40, 44), 12, spacing), spacing).at(0.5) > 0
    expected = disc((40, 40), 16, spacing)
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.97


@pytest.mark.parametrize("align", [True, False])
def test_flipped_ends_have_flipped_results(align):
    rng = np.random.default_rng(1)
    for _ in range(4):
        lower, upper = rng.random((2, 9, 11)) > 0.7
        for t in (0.25, 0.5, 0.75):
            found = ShapeBetween.of(lower, upper, (1, 1), align=align).at(t) > 1e-6
            swapped = ShapeBetween.of(upper, lower, (1, 1), align=align).at(1 - t) > 1e-6
            assert np.array_equal(found, swapped)
            for axis in (0, 1):
                flipped = ShapeBetween.of(np.flip(lower, axis), np.flip(upper, axis), (1, 1), align=align).at(t) > 1e-6
                assert np.array_equal(np.flip(flipped, axis), found)


def test_a_mask_at_the_border_ends_there():
    """Without background outside of the array, the lower mask would be deep at the border, and the middle lop-sided."""
    lower, upper = np.zeros((2, 11, 12), bool)
    lower[:, :4] = upper[:, :8] = True
    found = ShapeBetween.of(lower, upper, (1, 1)).at(0.5)[5]
    assert np.flatnonzero(found > 0).tolist() == list(range(6))
    assert found[:6].tolist() == found[:6][::-1].tolist()


@pytest.mark.parametrize("t", [0.2, 0.5, 0.8])
def test_the_window_is_large_enough_for_a_large_mask_that_moves_far(t):
    """Beyond the smaller mask, too: the result is that of maps of the whole slice."""
    lower, upper = disc((20, 14), 11, (1, 1)), disc((20, 74), 2.5, (1, 1))
    found = ShapeBetween.of(lower, upper, (1, 1)).at(t) > 1e-6
    ends = [signed_distance(np.pad(each, 100), (1, 1)) for each in (lower, upper)]
    moved = (1 - t) * shift(ends[0], (0, 60 * t), order=1) + t * shift(ends[1], (0, 60 * (t - 1)), order=1)
    assert np.array_equal(found, moved[100:-100, 100:-100] > 1e-6)
    assert found.any()
