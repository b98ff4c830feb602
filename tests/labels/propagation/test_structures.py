"""Labels and regions as masks, and back."""

import numpy as np
import pytest

from nnunet_ext.labels.propagation.structures import Structures

LABELS = {"background": 0, "one": 1, "two": 2, "ignore": 3}
REGIONS = {"background": 0, "vessel": [1, 2], "lumen": 2, "plaque": [3], "ignore": 4}


def maps(*values: list[float]) -> list[np.ndarray]:
    return [np.array([each], float) for each in values]


def test_the_deepest_label_wins_and_none_is_background():
    structures = Structures.of(LABELS)
    found = structures.labels(maps([3, 1, -1, 0, -np.inf], [1, 2, -2, 0, -np.inf], [3, 2, -1, 0, -np.inf]))
    assert found.tolist() == [[1, 2, 0, 0, 0]]


def test_a_tie_goes_to_the_first_label():
    found = Structures.of(LABELS).labels(maps([1.0, 1.0], [1.0, 1.0 + 1e-9], [2, 2]))
    assert found.tolist() == [[1, 1]]


def test_labels_that_touch_leave_no_gap():
    """Where all labels together are, the deepest one is, also if it is a distance of zero or less."""
    found = Structures.of(LABELS).labels(maps([0, -2, -3], [0, -1, -3], [2, 2, -1]))
    assert found.tolist() == [[1, 2, 0]]


def test_permuted_labels_have_permuted_results():
    rng = np.random.default_rng(0)
    first, second, both = rng.normal(size=(3, 1, 50))
    found = Structures.of(LABELS).labels([first, second, both])
    permuted = Structures.of(LABELS).labels([second, first, both])
    assert np.array_equal(np.array([0, 2, 1])[found], permuted)
    assert {0, 1, 2} == set(found.ravel())


def test_masks():
    labels = np.array([[0, 1, 2, 3]])
    assert [mask[0].tolist() for mask in Structures.of(LABELS).masks(labels)] == [
        [False, True, False, False],
        [False, False, True, False],
        [False, True, True, False],
    ]
    one = Structures.of({"background": 0, "one": 1, "ignore": 2})
    assert len(one.masks(labels)) == 1


def test_regions_are_cut_off_at_their_parents():
    structures = Structures.of(REGIONS, [1, 2, 3])
    assert [structures.parents(number) for number in range(3)] == [[], [0], []]
    found = structures.labels(maps([1, 1, -1, -1, 0], [-1, 1, 1, -1, 1], [-1, -1, -1, 1, -1]))
    assert found.tolist() == [[1, 2, 0, 3, 0]]
    masks = structures.masks(np.array([[0, 1, 2, 3, 4]]))
    assert [mask[0].tolist() for mask in masks] == [
        [False, True, True, False, False],
        [False, False, True, False, False],
        [False, False, False, True, False],
    ]


@pytest.mark.parametrize("order", [[1, 2, 3], [3, 1, 2]])
def test_regions_are_rebuilt_in_their_order(order):
    found = Structures.of(REGIONS, order).labels(maps([1, 1, -1], [-1, 1, -1], [-1, 1, 1]))
    assert found.tolist() == [[order[0], order[2], order[2]]]
