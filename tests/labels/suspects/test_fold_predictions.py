"""What is missing, old or changed is told in one line."""

from __future__ import annotations

import json
import logging
import os
import shutil

import pytest
from blobs import DATASET, MODEL

from nnunet_ext.errors import UserError


@pytest.fixture
def refused(blobs):
    def run(*folds: str) -> str:
        with pytest.raises(UserError) as caught:
            blobs.find(*folds)
        text = str(caught.value).replace(f"{blobs.root}{os.sep}", "")
        assert "\n" not in text
        return text

    return run


def test_the_cases_of_all_folds_or_of_some(blobs, caplog):
    found = blobs.find()
    assert found.folds == (0, 1)
    assert {case.name: case.fold for case in found.cases} == {f"case_{n:02d}": n % 2 for n in range(12)}
    assert all(case.probabilities is not None for case in found.cases)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert {case.fold for case in blobs.find("1").cases} == {1}
    assert "no fold of 1 validates on case_00 (and 5 more cases): not looked at" in caplog.text


def test_a_fold_that_was_not_trained(blobs, refused):
    shutil.rmtree(blobs.root / MODEL / "fold_1")
    text = refused()
    assert text.startswith(f"{MODEL}/fold_1: expected a trained fold, found none. Run nnunet_ext train {DATASET} ")
    assert "3d_fullres 1 -tr nnUNetTrainer -p nnUNetPlans --npz, or name the trained folds with -f." in text
    assert blobs.find("0").folds == (0,)


def test_folds_that_cannot_be(refused):
    assert refused("all").startswith("-f all: expected folds that did not train on what they predict, got all.")
    assert refused("2") == "-f 2: expected a fold below 2, as in splits_final.json. Correct it."


def test_no_validation(blobs, refused):
    (blobs.validation(1) / "summary.json").unlink()
    assert "fold_1/validation/summary.json: expected the fold's validation, found none: it did not end." in refused()


def test_a_missing_prediction(blobs, refused):
    blobs.prediction(3).unlink()
    text = refused()
    assert "fold_1/validation/case_03.nii.gz: expected the fold's prediction, found no file. Run nnunet_ext" in text
    assert text.endswith("--val --npz")


@pytest.mark.parametrize("name", ["checkpoint_final.pth", "checkpoint_latest.pth"])
def test_a_checkpoint_that_is_newer(blobs, refused, name):
    checkpoint = blobs.root / MODEL / "fold_0" / name
    checkpoint.write_bytes(b"")
    summary = (blobs.validation(0) / "summary.json").stat().st_mtime
    os.utime(checkpoint, (summary - 5, summary - 5))
    assert blobs.find().folds == (0, 1)
    os.utime(checkpoint, (summary + 5, summary + 5))
    assert f"expected predictions of the last training, found those of an earlier one: {name} is newer." in refused()
    assert refused().endswith(f"if the files were copied since, run touch {MODEL}/fold_0/validation/summary.json")


def test_other_splits(blobs, refused):
    file = blobs.root / "preprocessed" / DATASET / "splits_final.json"
    folds = json.loads(file.read_text())
    folds[0]["val"].remove("case_02")
    file.write_text(json.dumps(folds))
    assert "found 'case_02', which is none of them: an earlier training with other folds predicted it" in refused()


def test_a_case_in_two_folds(blobs, refused):
    file = blobs.root / "preprocessed" / DATASET / "splits_final.json"
    folds = json.loads(file.read_text())
    folds[1]["val"].append("case_02")
    file.write_text(json.dumps(folds))
    shutil.copy(blobs.prediction(2), blobs.validation(1))
    assert "expected each case to be validated by one fold, found 'case_02' in 0 and 1." in refused()


def test_a_case_that_is_gone(blobs, refused):
    (blobs.raw / "imagesTr" / "case_02_0000.nii.gz").unlink()
    assert "expected predictions of cases of the dataset, found 'case_02', which is none. Restore it" in refused()


def test_labels_that_are_declared_otherwise(blobs, refused):
    file = blobs.raw / "dataset.json"
    description = json.loads(file.read_text())
    file.write_text(json.dumps(description | {"labels": {"background": 0, "liver": 2, "spleen": 1}}))
    assert "expected the 'labels' that the model was trained with, {'background': 0, 'liver': 1," in refused()


def test_a_label_that_was_changed_since(blobs, caplog):
    truths = blobs.root / "preprocessed" / DATASET / "gt_segmentations"
    shutil.copytree(blobs.raw / "labelsTr", truths)
    with caplog.at_level(logging.WARNING):
        blobs.find()
    assert not caplog.records
    for number in (5, 7):
        blobs.change(number, lambda labels: labels[::-1])
    with caplog.at_level(logging.WARNING):
        assert len(blobs.find().cases) == 12
    (line,) = caplog.messages
    assert line.startswith("the label of case_05 was changed since preprocessing (and 1 more case): it is compared as")


def test_no_probabilities(blobs, caplog):
    for file in blobs.validation(0).glob("*.npz"):
        file.unlink()
    with caplog.at_level(logging.WARNING):
        found = blobs.find()
    (line,) = caplog.messages
    assert line.startswith("fold 0: 6 of 6 cases have no probabilities: what is confidently predicted is not measured")
    assert {case.fold for case in found.cases if case.probabilities is None} == {0}
