"""Mean, spread, table and figure of a few runs with scores that are easy to reckon with."""

import numpy as np
import pytest

from nnunet_ext.comparison.figure import comparison_figure
from nnunet_ext.comparison.scores import ComparedRun, by_seed, spread
from nnunet_ext.comparison.table import comparison_table

pytestmark = pytest.mark.smoke


def run(name, seed, *dice, fold="0", seconds=10.0):
    """Cases with these Dice of the organ and ten times as many mm; tumours have half of it, 1 where it is missing."""
    cases = {
        f"{fold}_{index}": {
            "organ": {"dice": value, "hd95_mm": None if value is None else 10 * value},
            "tumour": {"dice": 1.0 if value is None else value / 2, "hd95_mm": 2.0},
        }
        for index, value in enumerate(dice)
    }
    return ComparedRun(name, seed, fold, seconds, cases)


def test_case_means_leave_out_what_is_not_there():
    assert run("a", 0, 0.4, None, 0.8).values("dice", "foreground mean") == pytest.approx(
        {"0_0": 0.3, "0_1": 1.0, "0_2": 0.6}
    )
    assert run("a", 0, 0.4, None).values("hd95_mm", "organ") == {"0_0": 4.0}


def test_seeds_pool_their_folds():
    runs = [run("a", 3, 0.2), run("a", 3, 0.5, 0.8, fold="1"), run("a", 1, 0.9)]
    assert by_seed(runs, "dice", "organ") == pytest.approx([0.9, 0.5])


def test_spread_is_that_of_a_sample():
    assert spread([0.8, 0.9]) == pytest.approx(0.0707107)
    assert spread([0.8]) is None


def test_table():
    runs = [run("one pass", 0, 0.75, 0.85), run("one pass", 1, 0.85, 0.95, seconds=31), run("nnU-Net", 0, None)]
    tables = comparison_table(runs).split("\n\n")
    assert tables[0].splitlines()[0].split("|")[1:-1] == [
        " mean ± spread over seeds ",
        " seeds ",
        "   organ, Dice ",
        " organ, HD95 mm ",
        "  tumour, Dice ",
        " tumour, HD95 mm ",
        " foreground mean, Dice ",
        " foreground mean, HD95 mm ",
        " training, seconds ",
    ]
    cells = [" ".join(line.replace(" ± ", "±").replace("|", " ").split()) for line in tables[0].splitlines()[2:]]
    assert cells == [
        "one pass 2 0.850±0.071 8.50±0.71 0.425±0.035 2.00±0.00 0.637±0.053 5.25±0.35 20",
        "nnU-Net 1 none none 1.000 2.00 1.000 2.00 10",
    ]
    each = [[cell.strip() for cell in line.split("|")[1:5]] for line in tables[1].splitlines()[2:]]
    assert each == [["one pass", "0", "0", "0.800"], ["one pass", "0", "1", "0.900"], ["nnU-Net", "0", "0", "none"]]
    assert "symmetric 95th percentile" in tables[2]


def test_folds_of_sites_are_named():
    record = {"name": "a", "seed": 0, "fold": "1", "training_seconds": 1.0, "cases": run("a", 0, 0.5).cases}
    runs = [ComparedRun.from_record(record | {"site": site}) for site in ("Bern", None)] + [
        ComparedRun.from_record(record)  # of an older version
    ]
    rows = comparison_table(runs).split("\n\n")[1].splitlines()[2:]
    assert [row.split("|")[2].strip() for row in rows] == ["1: Bern", "1", "1"]


def with_nsd(one: ComparedRun) -> ComparedRun:
    for classes in one.cases.values():
        for scores in classes.values():
            scores |= {"nsd@2mm": 0.25, "hd95_area": 1.5}
    return one


def test_further_metrics_that_all_runs_have():
    both = [with_nsd(run("one pass", 0, 0.6)), with_nsd(run("nnU-Net", 0, 0.2))]
    tables = comparison_table(both).split("\n\n")
    heads = [cell.strip() for cell in tables[0].splitlines()[0].split("|")[3:7]]
    assert heads == ["organ, Dice", "organ, HD95 mm", "organ, nsd@2mm", "organ, hd95_area"]
    cells = [cell.strip() for cell in tables[0].splitlines()[2].split("|")[3:7]]
    assert cells == ["0.600", "6.00", "0.250", "1.50"]
    assert "nsd@2mm: surface Dice (NSD): share of the area" in tables[2]
    titles = [axes.get_title() for axes in comparison_figure(both).axes[2:]]
    assert titles == ["nsd@2mm (to the right is better)", "hd95_area (to the left is better)"]
    tables = comparison_table([both[0], run("nnU-Net", 0, 0.2)])
    assert "nsd" not in tables


def test_figure_has_a_dot_per_case_and_the_mean():
    figure = comparison_figure([run("one pass", 0, 0.6, 0.8), run("one pass", 1, 0.8), run("nnU-Net", 0, 0.2)])
    dice, distance = figure.axes
    assert [label.get_text() for label in dice.get_yticklabels()] == ["one pass", "nnU-Net"]
    dots = [line for line in dice.lines if line.get_label() == "_case"]
    assert [list(line.get_xdata()) for line in dots] == [pytest.approx(x) for x in ([0.45, 0.6], [0.6], [0.15])]
    assert np.ptp([line.get_ydata()[0] for line in dots[:2]]) > 0
    assert [float(bar.lines[0].get_xdata()[0]) for bar in dice.containers] == pytest.approx([0.5625, 0.15])
    assert [float(bar.lines[0].get_xdata()[0]) for bar in distance.containers] == pytest.approx([4.75, 2.0])
