"""Label maps after rules: what is removed, and what takes its place."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from nnunet_ext.challenges.case_masks import LabelMap
from nnunet_ext.challenges.postprocessing.processed import processed
from nnunet_ext.challenges.postprocessing.rule import Rule
from nnunet_ext.quality.grid import Grid

SPACING = (3.0, 0.5, 2.0)  # 3 mm3 a voxel
PLAIN = {"kidney": (1,), "tumor": (2,)}
KITS = {"kidney_and_mass": (1, 2, 3), "mass": (2, 3), "tumor": (2,)}
OVERLAPPING = {"larynx": (1, 2), "pharynx": (2, 3)}


def after(values: list[int], *rules: Rule, structures: Mapping[str, tuple[int, ...]] = PLAIN) -> list[int]:
    """A row of voxels after rules."""
    given = np.array(values, np.uint8)[:, None, None]
    labels = LabelMap(given.copy(), Grid(given.shape, SPACING))
    found = processed(labels, rules, structures)
    np.testing.assert_array_equal(labels.labels, given)
    return found.labels[:, 0, 0].tolist()


def test_minimum_volume_keeps_what_has_just_that() -> None:
    values = [1, 1, 1, 0, 1, 1, 0, 1]
    assert after(values, Rule("kidney", "minimum_volume", 6.0)) == [1, 1, 1, 0, 1, 1, 0, 0]
    assert after(values, Rule("kidney", "minimum_volume", 6.000001)) == [1, 1, 1, 0, 0, 0, 0, 0]


def test_all_may_go() -> None:
    assert after([1, 0, 1, 1], Rule("kidney", "minimum_volume", 100)) == [0, 0, 0, 0]


def test_the_largest() -> None:
    values = [1, 0, 1, 1, 0, 1, 1, 1, 2]
    assert after(values, Rule("kidney", "largest", 1)) == [0, 0, 0, 0, 0, 1, 1, 1, 2]
    assert after(values, Rule("kidney", "largest", 2)) == [0, 0, 1, 1, 0, 1, 1, 1, 2]


def test_touching_another_label() -> None:
    rule = Rule("tumor", "touching", "kidney")
    assert after([2, 2, 0, 2, 1, 0, 2], rule) == [0, 0, 0, 2, 1, 0, 0]
    assert after([2, 0, 2], rule) == [0, 0, 0]


def test_touching_a_region_means_the_rest_of_it() -> None:
    rule = Rule("tumor", "touching", "kidney_and_mass")
    assert after([2, 0, 1, 2, 0, 2, 3, 0], rule, structures=KITS) == [0, 0, 1, 2, 0, 2, 3, 0]


def test_thick_slices_touch_as_thin_ones_do() -> None:
    values = np.zeros((2, 2, 2), np.uint8)
    values[0, 0, 0], values[1, 1, 1] = 1, 2
    labels = LabelMap(values, Grid(values.shape, (10.0, 0.1, 0.1)))
    rule = Rule("tumor", "touching", "kidney")
    assert processed(labels, [rule], PLAIN) is labels


def test_a_tumor_in_a_kidney_becomes_kidney_one_outside_background() -> None:
    rule = Rule("tumor", "largest", 1)
    values = [2, 2, 2, 0, 1, 2, 1, 1, 0, 2, 0]
    assert after(values, rule, structures=KITS) == [2, 2, 2, 0, 1, 1, 1, 1, 0, 0, 0]
    assert after(values, rule) == [2, 2, 2, 0, 1, 0, 1, 1, 0, 0, 0], "without regions, no voxel becomes kidney"


def test_most_neighbours_decide() -> None:
    values = np.zeros((3, 3, 9), np.uint8)
    values[:, :, :4] = 1
    values[1, 1, 3] = 2  # 17 of kidney, 9 of background
    values[1, 1, 7] = values[1, 1, 8] = 2
    found = processed(LabelMap(values, Grid(values.shape, SPACING)), [Rule("tumor", "largest", 1)], KITS)
    assert found.labels[1, 1].tolist() == [1, 1, 1, 1, 0, 0, 0, 2, 2]


def test_of_equally_frequent_neighbours_the_smallest_label() -> None:
    assert after([2, 2, 0, 2, 1], Rule("tumor", "largest", 1), structures=KITS) == [2, 2, 0, 0, 1]


def test_removing_the_whole_region_leaves_none_of_its_parts() -> None:
    values = [1, 1, 1, 1, 0, 1, 2, 3]
    assert after(values, Rule("kidney_and_mass", "largest", 1), structures=KITS) == [1, 1, 1, 1, 0, 0, 0, 0]


def test_where_structures_overlap_the_other_stays() -> None:
    rule = Rule("larynx", "largest", 1)
    assert after([1, 1, 0, 3, 2, 3], rule, structures=OVERLAPPING) == [1, 1, 0, 3, 3, 3]
    assert after([1, 1, 0, 3, 1, 3], rule, structures=OVERLAPPING) == [1, 1, 0, 3, 0, 3], "larynx is no pharynx"


def test_rules_follow_each_other() -> None:
    values = [1, 2, 0, 1, 1]
    kidney, tumor = Rule("kidney", "largest", 1), Rule("tumor", "touching", "kidney")
    assert after(values, kidney, tumor) == [0, 0, 0, 1, 1]
    assert after(values, tumor, kidney) == [0, 2, 0, 1, 1]


@pytest.mark.parametrize("rule", [Rule("tumor", "largest", 1), Rule("tumor", "touching", "kidney")], ids=str)
def test_what_is_not_there_and_what_does_not_change(rule: Rule) -> None:
    for values in ([0, 0, 0], [1, 2, 0]):
        labels = LabelMap(np.array([[values]], np.uint8), Grid((1, 1, 3), SPACING))
        assert processed(labels, [rule], PLAIN) is labels
