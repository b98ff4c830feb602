"""Dice of two predictions, by hand, and the order of cases."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.methods.self_training.stability import most_stable_first, stability


def test_mean_over_the_classes_that_either_finds():
    earlier = np.array([[1, 1, 1, 0, 2, -1]])
    later = np.array([[1, 1, 0, 0, 2, -1]])
    assert stability(earlier, later, [1, 2, 3]) == pytest.approx((2 * 2 / 5 + 1) / 2)
    assert stability(earlier, later, [1]) == 0.8


def test_regions_overlap():
    earlier = np.array([1, 1, 2, 0])
    later = np.array([1, 2, 2, 2])
    assert stability(earlier, later, [(1, 2), (2,)]) == pytest.approx((2 * 3 / 7 + 2 * 1 / 4) / 2)


@pytest.mark.parametrize("outside", [0, -1])
def test_no_foreground_in_either_has_no_stability_and_in_one_has_0(outside):
    empty = np.full((1, 2, 2, 2), outside)
    assert stability(empty, empty, [1, 2]) is None
    assert stability(empty, np.ones_like(empty), [1, 2]) == 0


def test_empty_cases_are_last_and_ties_go_by_name():
    assert most_stable_first({"a": None, "d": 0.9, "c": 0.9, "b": 0.0, "e": 1.0}) == ["e", "c", "d", "b", "a"]
