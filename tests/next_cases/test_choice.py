"""The greedy rule, by literal examples."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.next_cases.choice import Choice, choose

NONE = np.empty((0, 2))


def indices(suspicion, features, covered=NONE, number=10):
    return [choice.index for choice in choose(np.array(suspicion), np.array(features, float), covered, number)]


def test_the_most_suspicious_one_is_first():
    assert indices([0.2, 0.9, 0.5], [[0, 0], [3, 0], [0, 4]], number=1) == [1]


def test_scores_and_distances_by_hand():
    # mean (1, 0), farthest image 3 away: diameter 6
    found = choose(np.array([0.9, 0.8, 0.5]), np.array([[0.0, 0], [-1, 0], [4, 0]]), NONE, 3)
    assert found == [
        Choice(0, 0.9, 1.0),
        Choice(2, pytest.approx(0.5 * 4 / 6), pytest.approx(4 / 6)),
        Choice(1, pytest.approx(0.8 / 6), pytest.approx(1 / 6)),
    ]


def test_near_duplicates_are_not_both_chosen():
    features = [[0, 0], [0, 0.01], [0.01, 0], [5, 0], [0, 5]]
    assert indices([0.9, 0.9, 0.9, 0.2, 0.1], features, number=3) == [0, 3, 4]


def test_what_is_chosen_counts_with_what_was_chosen_before():
    """The third is near the first, not the second: both repel."""
    features = [[0, 0], [10, 0], [0.1, 0], [9.9, 0], [5, 0]]
    assert indices([1.0, 0.9, 0.8, 0.8, 0.3], features, number=3) == [0, 1, 4]


def test_of_two_at_equal_distance_the_more_suspicious_one():
    assert indices([0.9, 0.3, 0.4], [[0, 0], [3, 0], [-3, 0]], number=2) == [0, 2]


def test_covered_images_repel():
    features, covered = [[0, 0], [5, 0]], np.array([[0.0, 0.1]])
    assert indices([0.9, 0.5], features, number=1) == [0]
    assert indices([0.9, 0.5], features, covered, number=1) == [1]
    # each of several counts
    assert indices([0.9, 0.5, 0.2], [[0, 0], [5, 0], [0, 5]], np.array([[0.0, 0.1], [5.1, 0.0]]), 1) == [2]


def test_the_distance_of_the_first_one_to_what_is_covered():
    # mean (0, 0), diameter 6
    (found,) = choose(np.array([0.5]), np.array([[3.0, 0]]), np.array([[-3.0, 0]]), 1)
    assert found == Choice(0, 0.5, 1.0)
    found, *_ = choose(np.array([0.5, 0.1]), np.array([[3.0, 0], [0, 0]]), np.array([[-3.0, 0]]), 2)
    assert found == Choice(0, 0.5, 1.0)


def test_without_suspicion_the_farthest_one():
    assert indices([0, 0, 0, 0], [[0, 0], [1, 0], [7, 0], [3, 0]]) == [0, 2, 3, 1]


def test_equal_images_are_ordered_by_suspicion_then_place():
    found = choose(np.array([0.2, 0.7, 0.5, 0.5]), np.ones((4, 2)), NONE, 4)
    assert [choice.index for choice in found] == [1, 2, 3, 0]
    assert [choice.score for choice in found] == [0.7, 0, 0, 0]


def test_rounding_errors_do_not_decide():
    features = np.array([[0.0, 0], [0.1 + 0.2, 0], [0.3, 0.0]])
    assert indices([0.5, 0.5, 0.5], np.concatenate([features[:1], features[[2, 1]]]), number=2) == [0, 1]


def test_more_than_there_are():
    assert sorted(indices([0.1, 0.2], [[0, 0], [1, 1]], number=5)) == [0, 1]
    assert indices([0.1, 0.2], [[0, 0], [1, 1]], number=0) == []
