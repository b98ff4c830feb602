"""``nnunet_ext shift_test``: its files, how it goes on, and mistakes in one line."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from small_model import phantom, write_image, write_small_model

from nnunet_ext.cli.main import main
from nnunet_ext.prediction import Predictor
from nnunet_ext.shifts.shift import SHIFTS

NAME = "Dataset901_Phantom"
SPACING = (2.0, 1.0, 1.0)
CASES = {"0": ("a", "b"), "1": ("c",)}


@pytest.fixture
def tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of two folds and its dataset, whose labels are what the folds predict of the raw images."""
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    for part in ("raw", "preprocessed", "results"):
        (tmp_path / part / NAME).mkdir(parents=True)
        monkeypatch.setenv(f"nnUNet_{part}", str(tmp_path / part))
    model = write_small_model(tmp_path / "results", folds=(0, 1), axes=None)
    shutil.copy(model / "dataset.json", tmp_path / "raw" / NAME)
    for fold, names in CASES.items():
        predictor = Predictor(model, [fold], device="cpu")
        for name in names:
            image = tmp_path / "raw" / NAME / "imagesTr" / f"{name}_0000.nii.gz"
            write_image(image, phantom((8, 16, 12), seed=ord(name))[0], SPACING)
            predictor.predict_files([image], tmp_path / "raw" / NAME / "labelsTr" / f"{name}.nii.gz")
            (model / f"fold_{fold}" / "validation").mkdir(exist_ok=True)
            (model / f"fold_{fold}" / "validation" / f"{name}.nii.gz").touch()
        (model / f"fold_{fold}" / "validation" / "summary.json").touch()
    folds = [{"train": list(CASES["1"]), "val": list(CASES["0"])}, {"train": list(CASES["0"]), "val": list(CASES["1"])}]
    (tmp_path / "preprocessed" / NAME / "splits_final.json").write_text(json.dumps(folds))
    return tmp_path


def words(root: Path, *more: str) -> list[str]:
    model = root / "results" / NAME / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    return ["shift_test", str(model), "-o", str(root / "out"), "-device", "cpu", "--no_pbar", *more]


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "out" / "shift_test.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_each_case_by_the_fold_that_did_not_train_on_it(tested, capsys):
    assert main(words(tested)) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].replace(" ", "") == "|shift|meanDice|drop|worstDice|worstcase|"
    assert told[2].replace(" ", "") == "|unshifted|1.000||1.000|a|"  # each label is its own fold's prediction
    assert [line.split("|")[1].strip() for line in told[3:15]] == [shift.name for shift in SHIFTS]
    assert told[15].startswith("Mean drop 0.")
    assert told[15].endswith(", 3 cases")
    assert {file.name for file in (tested / "out").iterdir()} >= {"shift_test.json", "shift_test.csv", "shift_test.png"}
    found = rows(tested)
    assert len(found) == 3 * 13 * 3
    assert {(row["case"], row["fold"]) for row in found} == {("a", "0"), ("b", "0"), ("c", "1")}
    assert all(row["dice"] in ("1.0", "") for row in found if row["shift"] == "unshifted")
    for shift in SHIFTS:
        assert any(row["dice"] not in ("1.0", "") for row in found if row["shift"] == shift.name), shift


def test_it_goes_on_where_it_was_interrupted(tested, monkeypatch):
    assert main(words(tested, "--cases", "1")) == 0
    assert {row["case"] for row in rows(tested)} == {"a", "c"}
    record = json.loads((tested / "out" / "shift_test.json").read_text())
    predicted = []
    predict = Predictor.predict_array
    monkeypatch.setattr(Predictor, "predict_array", lambda *args: predicted.append(1) or predict(*args))
    assert main(words(tested, "-f", "0")) == 0
    assert len(predicted) == 13  # of case b only
    assert {row["case"] for row in rows(tested)} == {"a", "b", "c"}
    again = json.loads((tested / "out" / "shift_test.json").read_text())
    assert again["cases"]["a"] == record["cases"]["a"]


def test_a_case_that_was_corrected_is_predicted_again(tested, monkeypatch):
    assert main(words(tested)) == 0
    folder = tested / "raw" / NAME
    shutil.copy(folder / "labelsTr" / "b.nii.gz", folder / "labelsTr" / "a.nii.gz")
    predicted = []
    predict = Predictor.predict_array
    monkeypatch.setattr(Predictor, "predict_array", lambda *args: predicted.append(1) or predict(*args))
    assert main(words(tested)) == 0
    assert len(predicted) == 13
    unshifted = [row["dice"] for row in rows(tested) if (row["case"], row["shift"]) == ("a", "unshifted")]
    assert set(unshifted) - {"1.0", ""}
    assert main(words(tested)) == 0
    assert len(predicted) == 13


def test_a_finished_case_survives_a_damaged_one(tested, capsys):
    file = tested / "raw" / NAME / "imagesTr" / "b_0000.nii.gz"
    file.write_bytes(file.read_bytes()[:-50])
    assert main(words(tested)) == 2
    assert "b_0000.nii.gz: expected an intact image" in capsys.readouterr().err.splitlines()[-1]
    assert list(json.loads((tested / "out" / "shift_test.json").read_text())["cases"]) == ["a"]


def test_results_of_another_model_are_not_mixed(tested, mistake):
    assert main(words(tested, "--cases", "1", "-f", "0")) == 0
    assert "expected the record of a test with the same 'mirroring'" in mistake(words(tested, "--disable_tta"))
    assert main(words(tested, "-f", "1")) == 0  # fold 0 is still known
    model = tested / "results" / NAME / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    shutil.copy(model / "fold_1" / "checkpoint_final.pth", model / "fold_0" / "checkpoint_final.pth")
    assert "expected the record of a test with the same 'checkpoints'" in mistake(words(tested))
    (tested / "out" / "shift_test.json").write_text("{}")
    assert "expected the record of a test with the same 'form'" in mistake(words(tested))


def test_labels_that_are_missing_or_other(tested, mistake):
    label = tested / "raw" / NAME / "labelsTr" / "b.nii.gz"
    label.rename(tested / "away")
    assert "b.nii.gz: expected the label of a validation case, found no file. Without labels, " in mistake(
        words(tested)
    )
    (tested / "away").rename(label)
    file = tested / "raw" / NAME / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"labels": {"background": 0, "organ": 1}}))
    assert "expected the 'labels' that the model was trained with" in mistake(words(tested))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["-f", "all"], "expected folds that did not train on what they predict, found all."),
        (["-f", "2"], "fold_2/checkpoint_final.pth: expected the checkpoint of fold 2, found no file."),
        (["--cases", "0"], "--cases: expected a number from 1 up, got 0"),
        (["-chk", "checkpoint_best.pth"], "expected folds that did not train on what they predict, found none."),
    ],
)
def test_mistakes(tested, mistake, more, expected):
    assert expected in mistake(words(tested, *more))


def test_no_dataset(tested, mistake):
    shutil.rmtree(tested / "raw" / NAME)
    assert f"expected dataset '{NAME}', found none." in mistake(words(tested))


def test_a_fold_that_the_splits_do_not_have(tested, mistake):
    model = tested / "results" / NAME / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    shutil.copytree(model / "fold_0", model / "fold_5")
    assert "fold 5: expected one of splits_final.json, which has 2, found none." in mistake(words(tested, "-f", "5"))


def splits(root: Path, *validated: list[str]) -> None:
    folds = [{"train": [], "val": names} for names in validated]
    (root / "preprocessed" / NAME / "splits_final.json").write_text(json.dumps(folds))


def test_a_case_that_two_folds_validate_on_is_predicted_once(tested):
    for validation in (tested / "results").rglob("validation"):
        shutil.rmtree(validation)
    splits(tested, ["a"], ["a", "c"])
    assert main(words(tested)) == 0
    assert {(row["case"], row["fold"]) for row in rows(tested)} == {("a", "0"), ("c", "1")}


def test_validation_cases_that_are_not_there(tested, mistake):
    splits(tested, ["a", "z"], ["c"])
    assert "expected the validation cases of fold 0, found no 'z'. Restore it." in mistake(words(tested))
    splits(tested, [], ["c"])
    assert "fold 0: expected validation cases in splits_final.json, found none." in mistake(words(tested))


def test_folds_that_were_replaced_after_the_training(tested, mistake):
    """Its new validation cases may be those that the model has learned."""
    splits(tested, ["b", "c"], ["a"])
    assert "found 'a', which is none of them (and 1 more case): the model was trained on other" in mistake(
        words(tested)
    )
