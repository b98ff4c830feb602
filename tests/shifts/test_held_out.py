"""Where the validation cases come from, for models of every kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_model import write_image, write_small_model

from nnunet_ext.base.trained_on import data_record
from nnunet_ext.errors import UserError
from nnunet_ext.prediction import Predictor
from nnunet_ext.shifts.held_out import HeldOut
from nnunet_ext.shifts.shift import SHIFTS, Shift
from nnunet_ext.shifts.shift_test import shift_test

NAME = "Dataset901_Phantom"
VIEW = "CollectionLitePlans_Dataset900_Shared__3d_fullres"


@pytest.mark.parametrize(
    ("trainer", "dataset", "channels", "classes"),
    [
        ("UniSegTrainer", "Dataset904_Pair", 2, {"organ", "core"}),
        ("DoDNetTrainer", "Dataset902_Nested", 1, {"whole", "core"}),
        ("MultiHeadTrainer", "Dataset903_Slab", 1, {"organ", "core"}),
    ],
)
def test_views_of_a_collection(untrained: Path, trainer: str, dataset: str, channels: int, classes: set[str]) -> None:
    """Labels, two channels, regions, an ignore label; nnU-Net's default folds, as no splits_final.json is there."""
    held_out = HeldOut.find(untrained / "results" / dataset / f"{trainer}__{VIEW}")
    cases = [case.name for case in HeldOut.find(untrained / "results" / dataset / f"{trainer}__{VIEW}").dataset.cases()]
    assert {fold: [case.name for case in own] for fold, own in held_out.folds.items()} == {
        "0": cases[:1],
        "1": cases[1:],
    }
    read = held_out.read(held_out.folds["0"][0])
    assert read.image.shape == (channels, *read.labels.shape)

    def predictor_of(fold: str) -> Predictor:
        return Predictor(held_out.model, [fold], device="cpu", mirroring=False)

    found = dict(shift_test(held_out, predictor_of, shifts=[Shift("inversion", 1.0)], show_progress=False))
    assert list(found) == cases
    for own in found.values():
        assert list(own) == ["unshifted", "inversion 1"]
        assert {name for dices in own.values() for name in dices} <= classes | set(
            held_out.dataset.description["labels"]
        )
        assert any(dice is not None for dice in own["unshifted"].values())


FOLDS = [{"train": ["c", "d"], "val": ["a", "b"]}, {"train": ["a", "b"], "val": ["c", "d"]}]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of fold 0, stock nnU-Net's."""
    for part in ("raw", "preprocessed", "results"):
        (tmp_path / part / NAME).mkdir(parents=True)
        monkeypatch.setenv(f"nnUNet_{part}", str(tmp_path / part))
    found = write_small_model(tmp_path / "results", axes=None)
    shutil.copy(found / "dataset.json", tmp_path / "raw" / NAME)
    for name in "abcd":
        for file in (f"imagesTr/{name}_0000.nii.gz", f"labelsTr/{name}.nii.gz"):
            write_image(tmp_path / "raw" / NAME / file, np.zeros((4, 4, 4), np.float32), (1, 1, 1))
    write_folds(found, FOLDS)
    return found


def write_folds(model: Path, folds: list[dict[str, list[str]]]) -> None:
    (model.parents[2] / "preprocessed" / NAME / "splits_final.json").write_text(json.dumps(folds))


def test_stock_models_are_told_by_their_validation(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    def found() -> list[str]:
        return [case.name for case in HeldOut.find(model, ["0"]).folds["0"]]

    assert found() == ["a", "b"]
    assert "fold_0: neither checkpoint nor validation say which cases this fold was trained on" in caplog.text
    validation = model / "fold_0" / "validation"
    validation.mkdir()
    for name in "ab":
        (validation / f"{name}.nii.gz").touch()
    caplog.clear()
    (validation / "summary.json").touch()
    assert found() == ["a", "b"]
    assert not caplog.records
    for val, told in ((["a", "b", "c"], "'a', and none of 'c'"), (["a", "c"], "'b', which is none of them")):
        write_folds(model, [{"train": ["d"], "val": val}])
        with pytest.raises(UserError, match=f"expected predictions of the validation cases .*, found {told}"):
            found()
    (validation / "summary.json").unlink()  # a validation that did not end
    (validation / "b.nii.gz").unlink()
    write_folds(model, FOLDS)
    assert found() == ["a", "b"]


def test_our_models_are_told_by_their_checkpoint(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = model / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    split = (FOLDS[0]["train"], FOLDS[0]["val"])
    checkpoint["init_args"]["nnunet_ext"] = data_record(model.parents[2] / "preprocessed" / NAME, {NAME: split})
    torch.save(checkpoint, file)
    assert HeldOut.find(model, ["0"]).folds.keys() == {"0"}
    assert not caplog.records
    write_folds(model, FOLDS[::-1])
    with pytest.raises(UserError, match="expected a training with the validation cases in splits_final"):
        HeldOut.find(model, ["0"])


def test_a_checkpoint_that_asks_for_code_needs_trust(model: Path) -> None:
    file = model / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(file, weights_only=False) | {"code": Shift("gamma", 2.0)}, file)
    with pytest.raises(UserError, match="--trust"):
        HeldOut.find(model, ["0"])
    assert HeldOut.find(model, ["0"], trust=True).folds.keys() == {"0"}


def test_photographs_saturate(tmp_path: Path) -> None:
    image = np.random.default_rng(0).uniform(0, 255, (3, 1, 20, 20)).round()
    for shift in SHIFTS:
        found = shift.of(image, (999, 1, 1), "case", (0.0, 255.0))
        assert found.min() >= 0, shift
        assert found.max() <= 255, shift
    assert max(shift.of(image, (999, 1, 1), "case").max() for shift in SHIFTS) > 255
