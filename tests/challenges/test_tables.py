"""The tables: the challenge's columns, the last row, empty cells, and what is said about counting."""

from __future__ import annotations

import json

import pytest

from nnunet_ext.challenges.evaluation import Evaluation
from nnunet_ext.challenges.kipa22 import kipa22
from nnunet_ext.challenges.kits21 import kits21
from nnunet_ext.challenges.own_dataset import own_dataset
from nnunet_ext.challenges.scored_case import ScoredCase
from nnunet_ext.challenges.segrap2023 import segrap2023
from nnunet_ext.challenges.tables import as_json, csv_table, summary
from nnunet_ext.evaluation.mask_metrics import parse_metrics

pytestmark = pytest.mark.smoke


def test_the_table_of_kits21() -> None:
    challenge = kits21()
    one = ScoredCase("case_00000", dict(zip(challenge.columns, (1.0, 0.5, 0.25, 1.0, 0.0, 0.1), strict=True)), 15)
    other = ScoredCase("case_00001", dict(zip(challenge.columns, (0.5, 0.5, 0.75, 0.0, 0.0, 0.3), strict=True)), 15)
    assert csv_table(Evaluation(challenge, (one, other), (), (), "error")) == (
        "caseID,Dice_kidney,Dice_masses,Dice_tumor,SD_kidney,SD_masses,SD_tumor\n"
        "case_00000,1.0,0.5,0.25,1.0,0.0,0.1\n"
        "case_00001,0.5,0.5,0.75,0.0,0.0,0.3\n"
        "average,0.75,0.5,0.5,0.5,0.0,0.2\n"
    )


def evaluated() -> Evaluation:
    description = {"labels": {"background": 0, "a": 1, "b": 2}, "file_ending": ".nii.gz"}
    challenge = own_dataset(description, parse_metrics("dice,hd95"), count_both_empty=False)
    values = {"a dice": 0.5, "b dice": None, "a hd95": 2.0, "b hd95": None}
    return Evaluation(challenge, (ScoredCase("x", values, 1, ("b",)),), ("y", "z"), ("w",), "skip")


def test_what_is_not_counted_is_an_empty_cell() -> None:
    assert csv_table(evaluated()).splitlines() == [
        "case,a dice,b dice,a hd95,b hd95",
        "x,0.5,,2.0,",
        "average,0.5,,2.0,",
    ]


def test_json_says_how_it_was_counted() -> None:
    found = json.loads(json.dumps(as_json(evaluated())))
    assert found["cases"] == {"x": {"a dice": 0.5, "b dice": None, "a hd95": 2.0, "b hd95": None}}
    assert found["average"]["b hd95"] is None
    assert found["missing"] == {"rule": "skip", "cases": ["y", "z"]}
    assert (found["extra"], found["missing_structures"]) == (["w"], {"x": ["b"]})
    assert found["structures"] == {"a": [1], "b": [2]}
    column = found["columns"]["a hd95"]
    assert (column["metric"], column["both_empty"], column["one_empty"]) == ("hd95", "not counted", "diagonal")
    assert "pooled" in column["definition"]
    assert as_json(Evaluation(kits21(), (), (), (), "error"))["columns"]["SD_tumor"]["one_empty"] == 0.0
    kipa = as_json(Evaluation(kipa22(), (), (), (), "error"))
    assert kipa["columns"]["HD_vein"]["definition"].endswith("the image's border replaces an empty mask; in mm")
    assert kipa["voxel_size_of"] == "reference"


def test_the_summary() -> None:
    lines = summary(evaluated()).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == ["mean over cases", "dice", "hd95"]
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == ["a", "0.5000", "2.0000"]
    assert [cell.strip() for cell in lines[3].strip("|").split("|")] == ["b", "none", "none"]
    text = "\n".join(lines[4:])
    assert "hd95: 95 % Hausdorff distance: symmetric 95th percentile" in text
    assert "1 case, each compared with 1 reference." in text
    assert "2 without a prediction are left out: y, z." in text
    assert "1 prediction without a reference is left out: w." in text
    assert "1 case lacks structures: x (b)." in text


def test_tolerances_that_differ_are_not_in_the_heading() -> None:
    """No case: every cell is none."""
    lines = summary(Evaluation(segrap2023("oar"), (), (), (), "error")).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == ["mean over cases", "dice", "nsd"]
    assert len(lines) > 47
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == ["Brain", "none", "none"]
