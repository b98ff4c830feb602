"""Decisions as CSV, JSON, Markdown and a figure."""

from __future__ import annotations

import csv
import io

import pytest

from nnunet_ext.challenges.own_dataset import own_dataset
from nnunet_ext.challenges.postprocessing.decision import Decision
from nnunet_ext.challenges.postprocessing.gain_figure import gain_figure
from nnunet_ext.challenges.postprocessing.learning import Learned
from nnunet_ext.challenges.postprocessing.rule import Rule
from nnunet_ext.challenges.postprocessing.tables import decisions_csv, decisions_json, summary
from nnunet_ext.evaluation.mask_metrics import parse_metrics

DESCRIPTION = {"labels": {"background": 0, "a": 1, "b": 2}, "file_ending": ".nii.gz"}
LARGEST = Rule("a", "largest", 1)


@pytest.fixture
def learned() -> Learned:
    folds = {"fold 0": ["x", "y"], "fold 1": ["z"]}
    decisions = [
        Decision("a", LARGEST, 0.25, dict.fromkeys(folds, LARGEST), {"fold 0": 0.5, "fold 1": -0.25}, 0.125),
        Decision("b", None, 0.0, dict.fromkeys(folds, None), {"fold 0": 0.0, "fold 1": None}, 0.0),
    ]
    challenge = own_dataset(DESCRIPTION, parse_metrics("dice"), count_both_empty=False)
    before, after = {"a dice": 0.5, "b dice": None}, {"a dice": 0.75, "b dice": None}
    scales = dict.fromkeys(challenge.columns, 1.0)
    return Learned(challenge, folds, decisions, before, {"a dice": 0.625, "b dice": None}, after, scales)


def test_csv(learned: Learned) -> None:
    header, first, second = csv.reader(io.StringIO(decisions_csv(learned)))
    assert header[:5] == ["structure", "rule", "taken", "held-out gain", "gain on all cases"]
    assert header[5:7] == ["fold 0, gain", "fold 0, rule chosen without it"]
    words = "keep the largest component"
    assert first == ["a", words, "yes", "0.125", "0.25", "0.5", words, "-0.25", words]
    assert second == ["b", "none gains", "no", "0.0", "0.0", "0.0", "none gains", "", "none gains"]


def test_json(learned: Learned) -> None:
    found = decisions_json(learned)
    assert found["folds"] == {"fold 0": ["x", "y"], "fold 1": ["z"]}
    assert found["decisions"][0]["folds"]["fold 1"] == {"gain": -0.25, "rule": LARGEST.as_json()}
    assert found["decisions"][1]["rule"] is None
    assert found["total_gain"] == {"held_out": 0.125, "all_cases": 0.25}
    assert found["means"]["held_out"]["a dice"] == 0.625
    assert "voxels" in found["definitions"]["a dice"]


def test_summary(learned: Learned) -> None:
    lines = [" ".join(line.split()) for line in summary(learned).splitlines()]
    assert lines[0] == "| structure: rule | taken | held-out gain | fold 0 | fold 1 |"
    assert lines[2] == "| a: keep the largest component | yes | +0.1250 | +0.5000 | -0.2500 |"
    assert lines[3] == "| b: none gains | no | +0.0000 | +0.0000 | none |"
    assert "| a dice | 0.5000 | 0.6250 | 0.7500 |" in lines
    assert "| mean gain | | +0.1250 | +0.2500 |" in lines


def test_figure(learned: Learned) -> None:
    (axes,) = gain_figure(learned).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a: keep the largest component", "b: none gains"]
    dots = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "o"]
    bars = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "|"]
    assert (dots, bars) == ([[0.5, -0.25], [0.0]], [[0.125], [0.0]])
    taken, left_out = (line.get_color() for line in axes.lines if line.get_marker() == "o")
    assert taken != left_out
