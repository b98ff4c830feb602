"""Whole label maps: what is filled, and what is never changed."""

import numpy as np
import pytest

from nnunet_ext.labels.propagation.propagate import Rule, propagate
from nnunet_ext.labels.propagation.structures import Structures
from nnunet_ext.phantoms.dataset import phantom_case

LABELS = {"background": 0, "organ": 1, "wall": 2, "tumour": 3, "ignore": 4}
STRUCTURES, IGNORE, SPACING = Structures.of(LABELS), 4, (2.5, 1.0, 1.0)
RULES = [Rule(method, keep) for method in ("shape", "distance", "nearest") for keep in ("confident", "all")]


@pytest.fixture(scope="module")
def dense() -> np.ndarray:
    return phantom_case(np.random.default_rng(2), shape=(20, 30, 28))[1].astype(int)


def sparse(dense: np.ndarray, kept: list[int], axis: int = 0) -> np.ndarray:
    found = np.full_like(dense, IGNORE)
    np.moveaxis(found, axis, 0)[kept] = np.moveaxis(dense, axis, 0)[kept]
    return found


def run(labels: np.ndarray, rule: Rule, axis: int = 0) -> np.ndarray:
    return propagate(labels, STRUCTURES, IGNORE, axis, SPACING, rule)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("axis", [0, 2])
def test_only_ignored_voxels_between_annotated_slices_change(dense, rule, axis):
    labels = sparse(dense, [2, 6, 10, 14, 17], axis)
    np.moveaxis(labels, axis, 0)[8, 3:6, 3:6] = 3  # annotated by hand between them
    before = labels.copy()
    found = run(labels, rule, axis)
    assert np.array_equal(labels, before)
    assert np.array_equal(found[before != IGNORE], before[before != IGNORE])
    slices = np.moveaxis(found, axis, 0)
    assert (slices[[0, 1, *range(18, len(slices))]] == IGNORE).all()
    filled = slices[3:6]
    assert (filled != IGNORE).mean() > (0.6 if rule.keep == "confident" else 0.999)
    assert set(np.unique(filled)) <= {0, 1, 2, 3, IGNORE}


@pytest.mark.parametrize("method", ["shape", "distance", "nearest"])
def test_confident_is_a_subset_of_all(dense, method):
    labels = sparse(dense, [0, 4, 8, 12, 16])
    confident, everything = run(labels, Rule(method)), run(labels, Rule(method, "all"))
    kept = confident != IGNORE
    assert np.array_equal(confident[kept], everything[kept])
    assert (everything != IGNORE).sum() - kept.sum() > 0
    assert np.array_equal(kept[5], (labels[4] == labels[8]) & (everything[5] == labels[4]))


def test_confident_draws_nothing_where_both_slices_have_nothing():
    """Two structures of a class: one ends, one begins elsewhere; the method takes them for one that moves."""
    labels = np.full((5, 10, 40), IGNORE)
    labels[[0, 4]] = 0
    labels[0, 3:7, 3:9] = labels[4, 3:7, 30:36] = 1
    everything, confident = run(labels, Rule(keep="all")), run(labels, Rule())
    assert (everything[2] == 1).any()
    assert not (confident[1:4] == 1).any()
    assert (confident[2] == 0).sum() > 300


def test_quality(dense):
    """Better than copies, and confident voxels are better than the others."""
    dense = (dense > 0).astype(int)
    labels = sparse(dense, [0, 4, 8, 12, 16])
    hidden = np.ones(20, bool)
    hidden[[0, 4, 8, 12, *range(16, 20)]] = False
    truth = dense[hidden]
    shape, nearest = (run(labels, Rule(method, "all"))[hidden] for method in ("shape", "nearest"))
    right = [(found == truth)[(found > 0) | (truth > 0)].mean() for found in (shape, nearest)]
    assert right[0] > right[1] + 0.03
    confident = run(labels, Rule())[hidden]
    seen = (confident != IGNORE) & ((confident > 0) | (truth > 0))
    assert (confident == truth)[seen].mean() > right[0]


def test_gaps():
    labels = np.full((14, 1, 3), IGNORE)
    labels[[0, 3, 7, 13]] = 1
    for rule, filled in (
        (Rule(), [1, 2, 4, 5, 6]),
        (Rule(gap=3), [1, 2]),
        (Rule(gap=6), [1, 2, 4, 5, 6, 8, 9, 10, 11, 12]),
        (Rule(keep="all"), [1, 2, 4, 5, 6, 8, 9, 10, 11, 12]),
        (Rule(keep="all", gap=4), [1, 2, 4, 5, 6]),
    ):
        found = run(labels, rule)
        assert np.flatnonzero((labels != found).any((1, 2))).tolist() == filled
        assert (found[filled] == 1).all()


def test_nearest_takes_the_lower_slice_in_the_middle():
    labels = np.full((5, 1, 2), IGNORE)
    labels[0], labels[4] = 1, 2
    assert run(labels, Rule("nearest", "all"))[:, 0, 0].tolist() == [1, 1, 1, 2, 2]


def test_outside():
    labels = np.full((6, 1, 3), IGNORE)
    labels[[2, 3]] = 1
    labels[5, 0, 2] = 3
    assert (run(labels, Rule(keep="all"))[[0, 1, 4]] == IGNORE).all()
    assert run(labels, Rule(outside="background"))[5, 0].tolist() == [0, 0, 3]
    assert run(labels, Rule(outside="background"))[:, 0, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert (run(np.full((6, 1, 3), IGNORE), Rule(outside="background")) == IGNORE).all()


@pytest.mark.parametrize(("hidden", "filled"), [(3, 0), (60, 60)])
def test_what_is_ignored_in_a_slice_that_is_mostly_annotated_stays_ignored(hidden, filled):
    """An uncertain region, against a slice of which a corner is annotated."""
    labels = np.ones((4, 8, 8), int)
    labels[1:3].reshape(2, -1)[:, :hidden] = IGNORE
    for keep in ("confident", "all"):
        assert (run(labels, Rule(keep=keep)) != labels).sum() == 2 * filled


def test_a_voxel_that_an_annotated_slice_ignores_stays_ignored():
    labels = np.full((3, 1, 40), IGNORE)
    labels[[0, 2]] = 1
    labels[0, 0, 0] = IGNORE
    for keep in ("confident", "all"):
        found = run(labels, Rule(keep=keep, annotated_share=0.9))
        assert found[:, 0, 0].tolist() == [IGNORE, IGNORE, 1]
        assert (found[1, 0, 1:] == 1).all()
    assert (run(labels, Rule())[1] == IGNORE).all()  # one annotated slice


@pytest.mark.parametrize("rule", RULES)
def test_without_ignored_voxels_nothing_changes(dense, rule):
    assert np.array_equal(run(dense, rule), dense)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flipped_label_maps_have_flipped_results(dense, axis):
    kept = [1, 4, 8, 12, 18]
    for keep in ("confident", "all"):
        found = run(sparse(dense, kept), Rule(keep=keep))
        flipped = run(np.flip(sparse(dense, kept), axis), Rule(keep=keep))
        assert np.array_equal(np.flip(flipped, axis), found)


def test_a_disc_that_slants_stays_in_one_piece():
    """Consecutive masks do not overlap; without alignment the structure vanishes between them."""
    dense = np.zeros((9, 12, 40), int)
    for place in range(9):
        dense[place, 4:8, 2 + 4 * place : 5 + 4 * place] = 1
    hidden = [1, 2, 3, 5, 6, 7]
    labels = sparse(dense, [0, 4, 8])
    assert np.array_equal(run(labels, Rule(keep="all"))[hidden], dense[hidden])
    assert not (run(labels, Rule("distance", "all"))[[2, 6]] == 1).any()


def test_nested_regions():
    regions = {"background": 0, "vessel": [1, 2], "lumen": [2], "ignore": 3}
    structures = Structures.of(regions, [1, 2])
    labels = np.full((3, 20, 20), 3)
    labels[[0, 2]] = 0
    labels[0, 4:13, 4:13], labels[0, 6:11, 6:11] = 1, 2
    labels[2, 6:15, 6:15], labels[2, 8:13, 8:13] = 1, 2
    found = propagate(labels, structures, 3, 0, (1, 1, 1), Rule(keep="all"))[1]
    expected = np.zeros((20, 20), int)
    expected[5:14, 5:14], expected[7:12, 7:12] = 1, 2
    assert np.array_equal(found, expected)
