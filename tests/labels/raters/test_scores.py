"""Scores against several raters: the numbers worked out by hand."""

import math

import numpy as np
import pytest

from nnunet_ext.labels.raters.scores import class_scores, dice, energy_distance, human_line, majority_mask, soft_dice

OUTPUT = np.array([0.2, 0.4, 0.6, 0.8])
RATERS = [np.array(mask, bool) for mask in ([0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1])]
A, B = np.array([1, 1, 0, 0], bool), np.array([1, 1, 1, 0], bool)


def test_soft_dice():
    assert soft_dice(OUTPUT, RATERS) == pytest.approx(0.771429, abs=1e-6)
    assert soft_dice(OUTPUT, [np.array([0, 0, 1, 1])]) == pytest.approx(0.626667, abs=1e-6)


def test_energy_distance():
    assert energy_distance([A, B], [A, B], self_pairs=False) == pytest.approx(-0.25)
    assert energy_distance([A, B], [A, B]) == 0
    assert energy_distance([A], [B]) == pytest.approx(2 * 0.25)
    assert energy_distance([A], [A, B]) == pytest.approx(2 * 0.125 - 0.125)


def test_dice_of_nothing_is_unknown():
    nothing = np.zeros(4, bool)
    assert math.isnan(dice(nothing, nothing))
    assert dice(nothing, A) == 0
    assert dice(A, B) == pytest.approx(0.8)


def test_human_line():
    pairs = [2 / 3, 2 / 4, 4 / 5]  # of 1 and 2, of 1 and 3, of 2 and 3 voxels
    inter, left_out = human_line(RATERS)
    assert inter == pytest.approx(sum(pairs) / 3)
    # the majority of two others is their intersection: 2, 1 and 1 voxels
    assert left_out == pytest.approx((2 / 3 + 2 / 3 + 2 / 4) / 3)
    assert all(map(math.isnan, human_line(RATERS[:1])))
    assert majority_mask(RATERS).tolist() == [False, False, True, True]


def test_all_of_a_class():
    raters = {"anna": A, "ben": B, "zoe": np.zeros(4, bool)}
    found = class_scores(A, raters, views={"anna": B, "ben": B, "zoe": A})
    assert found["majority dice"] == 1
    assert found["mean dice"] == pytest.approx((1 + 0.8 + 0) / 3)
    assert found["view dice anna"] == pytest.approx(0.8)
    assert found["volume / ben"] == pytest.approx(2 / 3)
    assert found["view volume / anna"] == pytest.approx(1.5)
    assert math.isnan(found["volume / zoe"])
    assert math.isnan(found["soft dice"])
    assert class_scores(A, raters, probability=A.astype(float))["soft dice"] == pytest.approx(
        soft_dice(A.astype(float), list(raters.values()))
    )


def test_energy_distance_takes_the_views():
    assert class_scores(A, {"anna": A, "ben": B}, views={"anna": A, "ben": B})["ged"] == 0
    assert class_scores(A, {"anna": A, "ben": B})["ged"] == pytest.approx(0.125)
    assert class_scores(A, {"anna": A}, views={"anna": A, "ben": B})["ged"] == 0  # ben left the case out


def test_raters_of_any_name():
    found = class_scores(A, {"majority": B, "mean": A, "zoe": A})
    assert (found["majority dice"], found["dice majority"], found["dice mean"]) == (1, pytest.approx(0.8), 1)
    assert found["mean dice"] == pytest.approx((0.8 + 1 + 1) / 3)
