"""The table's text, letter by letter."""

import math

import pytest

from nnunet_ext.evaluation.dice_table import dice_table

pytestmark = pytest.mark.smoke


def summary(organ, tumour, foreground):
    return {"mean": {"1": {"Dice": organ}, "2": {"Dice": tumour}}, "foreground_mean": {"Dice": foreground}}


def test_table_is_aligned_markdown():
    summaries = {"BANetTrainer": summary(0.9, 0.51249, 0.706245), "Control": summary(0.25, 1.0, 0.625)}
    table = dice_table(summaries, {"1": "organ", "2": "tumour"}, {"BANetTrainer": 61.4, "Control": 9.6})
    assert table == (
        "| mean Dice on unseen cases | BANetTrainer | Control |\n"
        "|---------------------------|-------------:|--------:|\n"
        "| organ                     |        0.900 |   0.250 |\n"
        "| tumour                    |        0.512 |   1.000 |\n"
        "| foreground mean           |        0.706 |   0.625 |\n"
        "| training, seconds         |           61 |      10 |"
    )


def test_class_that_no_case_has():
    table = dice_table({"T": summary(0.5, math.nan, None)}, {"1": "a", "2": "b"}, {"T": 1.0})
    assert [line.split("|")[2].strip() for line in table.splitlines()[2:]] == ["0.500", "none", "none", "1"]
