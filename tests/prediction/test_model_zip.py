"""Models in zip files, with nothing written outside the folder."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.model_sharing.model_export import export_pretrained_model
from small_model import phantom

from nnunet_ext.errors import UserError
from nnunet_ext.prediction import Predictor
from nnunet_ext.prediction.model_zip import unpack_model

FINAL = "checkpoint_final.pth"
MODEL = ["D/A/plans.json", "D/A/dataset.json", f"D/A/fold_0/{FINAL}"]


def pack(file: Path, *names: str) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
    return file


def test_what_nnunet_exports(write_model, tmp_path, monkeypatch):
    model = write_model(folds=(0, 1))
    (model / "dataset_fingerprint.json").write_text("{}")
    for fold in (0, 1):
        (model / f"fold_{fold}" / "progress.png").write_bytes(b"")
        (model / f"fold_{fold}" / "validation").mkdir()
        (model / f"fold_{fold}" / "validation" / "summary.json").write_text("{}")
    monkeypatch.setattr("nnunetv2.model_sharing.model_export.nnUNet_results", str(tmp_path / "results"))
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "results"))
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "results"))
    export_pretrained_model("Dataset901_Phantom", str(tmp_path / "model.zip"), ("3d_fullres",), folds=(0, 1))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    predictor = Predictor(tmp_path / "model.zip", device="cpu")
    assert len(predictor.model.parameters) == 2
    found = predictor.predict_array(phantom(), (1.5, 1.5, 1.5))
    unpacked = sorted(file.name for file in temporary.rglob("*") if file.is_file())
    assert unpacked == [FINAL, FINAL, "dataset.json", "plans.json"]
    expected = Predictor(model, device="cpu").predict_array(phantom(), (1.5, 1.5, 1.5))
    np.testing.assert_array_equal(found, expected)
    del predictor
    assert os.listdir(temporary) == []


def test_an_export_with_predictions_of_the_cross_validation(write_model, tmp_path, monkeypatch):
    model = write_model(folds=(0, 1))
    (model / "dataset_fingerprint.json").write_text("{}")
    cross_validation = model / "crossval_results_folds_0_1"
    (cross_validation / "postprocessed").mkdir(parents=True)
    for name in ("plans.json", "dataset.json", "postprocessing.json", "postprocessing.pkl", "a.nii.gz"):
        (cross_validation / name).write_text("{}")
    for fold in (0, 1):
        (model / f"fold_{fold}" / "progress.png").write_bytes(b"")
        (model / f"fold_{fold}" / "validation").mkdir()
        (model / f"fold_{fold}" / "validation" / "summary.json").write_text("{}")
    monkeypatch.setattr("nnunetv2.model_sharing.model_export.nnUNet_results", str(tmp_path / "results"))
    for variable in ("nnUNet_results", "nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.setenv(variable, str(tmp_path / "results"))
    file = str(tmp_path / "model.zip")
    export_pretrained_model("Dataset901_Phantom", file, ("3d_fullres",), folds=(0, 1), export_crossval_predictions=True)
    with zipfile.ZipFile(file) as archive:
        assert sum(name.endswith("/plans.json") for name in archive.namelist()) == 2
    found = unpack_model(Path(file), tmp_path / "out", FINAL)
    assert found.relative_to(tmp_path / "out") == model.relative_to(tmp_path / "results")


@pytest.mark.parametrize("name", ["../evil", "D/../../evil", "/evil", "C:\\evil", "..\\evil", "D\\..\\..\\evil"])
def test_a_path_that_leaves_the_folder(tmp_path, name):
    file = pack(
        tmp_path / "model.zip", "D/T__P__C/plans.json", "D/T__P__C/dataset.json", f"D/T__P__C/fold_0/{FINAL}", name
    )
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"expected paths inside the model, found .*which leads out of it. Do not use"):
        unpack_model(file, tmp_path / "out", FINAL)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model.zip", "out"]


def test_only_what_is_needed(tmp_path):
    names = [
        "plans.json",
        "dataset.json",
        f"fold_0/{FINAL}",
        "fold_0/checkpoint_best.pth",
        "fold_0/validation/a.nii.gz",
    ]
    names += [f"fold_0/deeper/{FINAL}", "cv/plans.json"]
    file = pack(tmp_path / "model.zip", *(f"D/T__P__C/{name}" for name in names), "D/ensembles/e/dataset.json")
    model = unpack_model(file, tmp_path / "out", FINAL)
    assert model == tmp_path / "out" / "D" / "T__P__C"
    found = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert found == {"plans.json", "dataset.json", f"fold_0/{FINAL}"}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([*MODEL, *(name.replace("/A/", "/B/") for name in MODEL)], "D/A, D/B"),
        ([MODEL[0], MODEL[1].replace("/A/", "/B/"), MODEL[2]], "none"),
        (MODEL[:2], "none"),
        ([*MODEL[:2], "D/A/fold_0/checkpoint_best.pth"], "none"),
        ([*MODEL[:2], f"D/A/cv/{FINAL}", f"D/A/{FINAL}"], "none"),
    ],
)
def test_not_one_model(tmp_path, names, found):
    with pytest.raises(UserError, match=f"model.zip: expected one model with {FINAL} in a fold, found {found}. Unpack"):
        unpack_model(pack(tmp_path / "model.zip", *names), tmp_path / "out", FINAL)


def test_no_zip_file(tmp_path):
    (tmp_path / "model.zip").write_bytes(b"no archive")
    with pytest.raises(
        UserError, match=r"expected a model's folder or an intact zip file of one, got File is not a zip"
    ):
        unpack_model(tmp_path / "model.zip", tmp_path / "out", FINAL)
