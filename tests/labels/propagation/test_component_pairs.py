"""Which component continues which: by overlap, then by distance, one to one; none if a structure branches."""

import numpy as np

from nnunet_ext.labels.propagation.component_pairs import component_pairs


def row(*spans: tuple[int, int], size: int = 30) -> np.ndarray:
    found = np.zeros((3, size), bool)
    for first, last in spans:
        found[1, first : last + 1] = True
    return found


def first_voxels(masks) -> list[int]:
    return [int(np.flatnonzero(each[1])[0]) for each in masks]


def test_overlap_wins_over_distance():
    found = component_pairs(row((0, 9), (12, 13)), row((8, 20), (22, 23)), (1, 1))
    assert found is None  # (8, 20) overlaps both
    found = component_pairs(row((0, 9), (25, 26)), row((9, 22), (24, 24)), (1, 1))
    assert [first_voxels(pair) for pair in found.pairs] == [[0, 9], [25, 24]]


def test_others_by_distance_one_to_one():
    found = component_pairs(row((0, 1), (10, 11)), row((13, 14), (4, 5), (20, 21)), (1, 1))
    assert [first_voxels(pair) for pair in found.pairs] == [[0, 4], [10, 13]]
    assert (first_voxels(found.lower), first_voxels(found.upper)) == ([], [20])


def test_the_distance_is_in_mm():
    lower, upper = np.zeros((2, 9, 9), bool)
    lower[4, 4] = upper[7, 4] = upper[4, 8] = True
    for spacing, expected in (((1, 1), (7, 4)), ((5, 1), (4, 8))):
        ((_, mask),) = component_pairs(lower, upper, spacing).pairs
        assert tuple(np.argwhere(mask)[0]) == expected


def test_corners_connect():
    mask = np.eye(4, dtype=bool)
    assert len(component_pairs(mask, mask, (1, 1)).pairs) == 1


def test_branches_have_no_pairs_in_both_directions():
    assert component_pairs(row((0, 20)), row((0, 5), (10, 15)), (1, 1)) is None
    assert component_pairs(row((0, 5), (10, 15)), row((0, 20)), (1, 1)) is None
