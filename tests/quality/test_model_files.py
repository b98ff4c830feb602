"""The JSON files of a model in a folder or a zip file; mistakes in one line."""

from __future__ import annotations

import json
import shutil
import zipfile

import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.quality.model_files import ModelFiles


def zipped(torsos, *, leave_out=()):
    file = torsos.root / "model.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(torsos.model.rglob("*")):
            if path.is_file() and path.name not in leave_out:
                archive.write(path, path.relative_to(torsos.root / "results"))
    return file


def test_a_folder_and_a_zip_file_say_the_same(torsos):
    found = ModelFiles.read(torsos.model)
    assert found == ModelFiles.read(zipped(torsos))
    assert (found.dataset, found.file_ending, found.channels) == ("Dataset950_Torso", ".nii.gz", 1)
    assert found.normalization == ["CTNormalization"]
    assert len(found.fingerprint["spacings"]) == 20


def test_a_fingerprint_from_elsewhere(torsos):
    known = json.loads((torsos.model / "dataset_fingerprint.json").read_text())
    file = zipped(torsos, leave_out=("dataset_fingerprint.json",))
    assert ModelFiles.read(file).fingerprint == {}
    plans = json.loads((torsos.model / "plans.json").read_text())
    plans["foreground_intensity_properties_per_channel"] = {"0": {"median": 1}}
    (torsos.model / "plans.json").write_text(json.dumps(plans))
    file = zipped(torsos, leave_out=("dataset_fingerprint.json",))
    assert ModelFiles.read(file).fingerprint == {"foreground_intensity_properties_per_channel": {"0": {"median": 1}}}
    preprocessed = torsos.root / "preprocessed" / "Dataset950_Torso"
    preprocessed.mkdir()
    shutil.move(torsos.model / "dataset_fingerprint.json", preprocessed)
    assert ModelFiles.read(torsos.model).fingerprint == known
    assert ModelFiles.read(file).fingerprint == known


def test_a_pretraining_without_labels(torsos):
    """Else each label would be one that the model does not know."""
    file = torsos.model / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"labels": {"background": 0}}))
    with pytest.raises(UserError, match="expected a model that segments classes, found one of a dataset without any"):
        ModelFiles.read(torsos.model)


def test_no_model(torsos):
    with pytest.raises(UserError, match=r"none: expected a trained model, found none. Give its folder or its zip file"):
        ModelFiles.read(torsos.root / "none")
    with pytest.raises(UserError, match=r"images/plans.json: expected that of a trained model, found no file. Give th"):
        ModelFiles.read(torsos.root / "images")
    for content in (b"no zip file", zipped(torsos).read_bytes()[:-300]):
        (torsos.root / "broken.zip").write_bytes(content)
        with pytest.raises(UserError, match=r"broken.zip: expected a model's folder or an intact zip file of one, got"):
            ModelFiles.read(torsos.root / "broken.zip")


def test_none_or_two_models_in_a_zip_file(torsos):
    file = zipped(torsos, leave_out=("plans.json",))
    with pytest.raises(UserError, match=r"expected one model in the zip file, found none\. Give a model's folder\."):
        ModelFiles.read(file)
    shutil.copytree(torsos.model, torsos.model.with_name("nnUNetTrainer__nnUNetPlans__2d"))
    with zipfile.ZipFile(file, "w") as archive:
        for path in (torsos.root / "results").rglob("*.*"):
            archive.write(path, path.relative_to(torsos.root / "results"))
    with pytest.raises(
        UserError, match=r"expected one model in the zip file, found Dataset950_Torso/nnUNetTrainer__nn"
    ):
        ModelFiles.read(file)


@pytest.mark.parametrize(("content", "got"), [("{", "expected JSON, got"), ("[]", "expected an object, got list")])
def test_damaged_json_in_a_zip_file(torsos, content, got):
    (torsos.model / "plans.json").write_text(content)
    file = zipped(torsos)
    inside = "Dataset950_Torso/nnUNetTrainer__nnUNetPlans__3d_fullres/plans.json"
    with pytest.raises(UserError, match=rf"^{file}: {inside}: {got}"):
        ModelFiles.read(file)


def test_a_hostile_zip_file(torsos, monkeypatch):
    file = zipped(torsos)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("../plans.json", "{}")
    with pytest.raises(UserError, match=r"expected paths inside the model, found '\.\./plans\.json', which leads out"):
        ModelFiles.read(file)
    monkeypatch.setattr("nnunet_ext.quality.model_files.LARGEST", 100)
    with pytest.raises(UserError, match=r"json to be a small file, found more than 256 MiB\. Do not use this file\."):
        ModelFiles.read(zipped(torsos))


def test_results_of_a_cross_validation_are_no_model(torsos):
    beside = torsos.model / "crossval_results_folds_0"
    beside.mkdir()
    for name in ("plans.json", "dataset.json"):
        shutil.copy(torsos.model / name, beside / name)
    assert ModelFiles.read(zipped(torsos)) == ModelFiles.read(torsos.model)


def test_a_collection(torsos):
    (torsos.model / "dataset.json").write_text(json.dumps({"tasks": {"organ": {"dataset": "Dataset001_Organ"}}}))
    with pytest.raises(UserError, match=r"expected the model of one dataset, found that of a collection\. Give a task"):
        ModelFiles.read(torsos.model)
