"""The figure of a structure: worst first, with names and mean."""

from __future__ import annotations

import pytest

from nnunet_ext.evaluation.structure_figure import structure_figure

pytestmark = pytest.mark.smoke


def test_cases_from_the_worst_to_the_best() -> None:
    panels = {"dice": [0.9, 0.1, None, 0.5, 0.94], "hd95": [1.0, 9.0, None, 4.0, 0.5]}
    figure = structure_figure("tumor", ["a", "b", "c", "d", "e"], panels, smaller={"hd95"})
    dice, distance = figure.axes
    assert list(dice.lines[0].get_ydata()) == [0.1, 0.5, 0.9, 0.94]
    assert list(distance.lines[0].get_ydata()) == [9.0, 4.0, 1.0, 0.5]
    assert dice.get_xlabel() == distance.get_xlabel() == "4 cases, worst first: b, d, a"
    assert dice.lines[1].get_ydata()[0] == pytest.approx(0.61)
    assert dice.get_title() == "dice, mean 0.610"
    assert dice.get_ylim() == (-0.02, 1.02)
    assert distance.get_ylim()[1] > 9
    assert figure.get_suptitle() == "tumor"


def test_no_case_is_counted() -> None:
    figure = structure_figure("tumor", ["a"], {"dice": [None]}, smaller=set())
    assert figure.axes[0].get_title() == "dice, no case"
    assert len(figure.axes[0].lines) == 1
