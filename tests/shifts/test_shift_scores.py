"""What shifts cost, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from nnunet_ext.shifts.shift_scores import mean_dice, shift_rows, shift_scores

DICES = {
    "a": {"unshifted": {"x": 0.9, "y": 0.7}, "blur 2": {"x": 0.5, "y": 0.5}},
    "b": {"unshifted": {"x": 0.6, "y": None}, "blur 2": {"x": 0.2, "y": 0.0}},
    "c": {"unshifted": {"x": None, "y": None}, "blur 2": {"x": 0.0, "y": None}},  # nothing to lose
    "d": {"unshifted": {"x": 0.0, "y": None}, "blur 2": {"x": None, "y": None}},  # no Dice under the shift
}


def test_mean_drop_and_worst_case() -> None:
    unshifted, blurred = shift_scores(DICES)
    assert unshifted.cases == pytest.approx({"a": 0.8, "b": 0.6, "d": 0.0})
    assert (unshifted.mean, unshifted.drop, unshifted.worst) == (pytest.approx(1.4 / 3), 0, "d")
    assert blurred.cases == pytest.approx({"a": 0.5, "b": 0.1})
    assert (blurred.mean, blurred.worst) == (pytest.approx(0.3), "b")
    assert blurred.drop == pytest.approx(0.4)  # of a and b: 0.7 without the shift
    assert shift_rows([unshifted, blurred])[1:] == [
        ["unshifted", "0.467", "", "0.000", "d"],
        ["blur 2", "0.300", "0.400", "0.100", "b"],
    ]


def test_nothing_to_compare() -> None:
    assert shift_scores({}) == []
    assert shift_scores({"c": DICES["c"]}) == []
    assert mean_dice({"x": None}) is None
