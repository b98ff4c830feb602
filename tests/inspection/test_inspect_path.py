"""Models' folders, folds, zip files and single files, described without running them."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
from hostile_files import PICKLES, torch_zip
from small_model import write_small_model

from nnunet_ext.errors import UserError
from nnunet_ext.inspection.inspect_path import inspect_path

FINAL = "checkpoint_final.pth"
NAN = float("nan")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with two folds, one of them validated; nnU-Net's folders are not set."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(name, raising=False)
    folder = write_small_model(tmp_path / "results", folds=(0, 10, "all"))
    file = folder / "fold_0" / FINAL
    content = torch.load(file, weights_only=False) | {"current_epoch": 5, "optimizer_state": {}}
    torch.save(content | {"current_epoch": 3}, folder / "fold_0" / "checkpoint_best.pth")
    torch.save(content, file)
    summary = {
        "mean": {"1": {"Dice": 0.5}, "2": {"Dice": 0.75}, "3": {"Dice": NAN}},
        "foreground_mean": {"Dice": 0.625},
    }
    (folder / "fold_0" / "validation").mkdir()
    (folder / "fold_0" / "validation" / "summary.json").write_text(json.dumps(summary))
    (folder / "fold_0" / "debug.json").write_text(json.dumps({"torch_version": "2.6.0", "hostname": "secret"}))
    shutil.copytree(folder / "fold_10", folder / "fold_10_backup")
    return folder


def packed(model: Path, file: Path) -> Path:
    """A model as nnUNetv2_export_model_to_zip packs it, with files that nobody needs to know."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in sorted(path for path in model.rglob("*") if path.is_file()):
            archive.write(each, each.relative_to(model.parent.parent))
        archive.writestr("Dataset901_Phantom/ensembles/a.pkl", b"cos\nsystem\n.")
    return file


def test_a_model(model):
    found = inspect_path(model)
    assert json.loads(json.dumps(found)) == found
    files = [file for file in model.rglob("*") if file.is_file()]
    assert found["bytes"] == sum(file.stat().st_size for file in files)
    assert list(found)[:3] == ["kind", "path", "bytes"]
    assert found["kind"] == "model"
    assert (found["trainer"], found["trainer_is_installed"]) == ("nnUNetTrainer", True)
    assert (found["dataset"], found["plans"]) == ("Dataset901_Phantom", "nnUNetPlans")
    assert found["classes"] == {"organ": 1, "wall": 2, "tumour": 3}
    assert found["architecture"]["features"] == [4, 6, 8]
    assert found["mirroring_axes"] == [0, 1, 2]
    assert [fold["fold"] for fold in found["folds"]] == ["0", "10", "all"]
    assert found["folds"][0] == {
        "fold": "0",
        "checkpoints": {
            FINAL: {"epochs": 5, "resumable": True},
            "checkpoint_best.pth": {"epochs": 3, "resumable": True},
        },
        "validation_dice": {"mean": 0.625, "classes": {"organ": 0.5, "wall": 0.75}},
        "versions": {"torch": "2.6.0"},
    }


def test_a_fold(model):
    whole, found = inspect_path(model), inspect_path(model / "fold_0")
    assert found["kind"] == "one fold"
    assert found["folds"] == whole["folds"][:1]
    for key in ("trainer", "plans", "classes", "spacing", "patch_size", "architecture", "parameters_in_millions"):
        assert found[key] == whole[key]
    assert "epochs" not in found
    (model / "fold_2").mkdir()
    with pytest.raises(UserError, match=r"fold_2: expected a fold with one of checkpoint_final\.pth, .*found none"):
        inspect_path(model / "fold_2")


def test_a_model_before_its_first_checkpoint(model):
    for fold in model.glob("fold_*"):
        shutil.rmtree(fold)
    found = inspect_path(model)
    assert (found["trainer"], found["configuration"], found["patch_size"]) == (
        "nnUNetTrainer",
        "3d_fullres",
        [8, 16, 12],
    )
    assert "folds" not in found
    assert "parameters_in_millions" not in found


def test_the_trainer_is_that_of_the_checkpoint(model):
    renamed = model.rename(model.with_name("colleague"))
    found = inspect_path(renamed)
    assert (found["trainer"], found["configuration"]) == ("nnUNetTrainer", "3d_fullres")


def test_parameters_are_those_of_the_network(model):
    weights = torch.load(model / "fold_0" / FINAL, weights_only=False)["network_weights"]
    distinct = {tensor.data_ptr(): tensor.numel() for tensor in weights.values()}
    assert inspect_path(model / "fold_0" / FINAL)["parameters_in_millions"] == sum(distinct.values()) / 1e6


def test_collection_and_view(model):
    plans = json.loads((model / "plans.json").read_text())
    block = {"format": 1, "name": "Dataset900_All", "tasks": [{"name": "liver", "dataset": "Dataset003_Liver"}]}
    (model / "plans.json").write_text(json.dumps(plans | {"collection": block}))
    assert inspect_path(model)["kind"] == "model of a collection"
    (model / "plans.json").write_text(json.dumps(plans | {"collection": block | {"task": "liver"}}))
    assert (inspect_path(model)["kind"], inspect_path(model)["task"]) == ("task view", "liver")


@pytest.mark.parametrize("name", ["model.zip", "model.MODEL"])
def test_a_zip_file(model, tmp_path, name, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    file = packed(model, tmp_path / name)
    found = inspect_path(file)
    assert (found["kind"], found["bytes"]) == ("zip file of models", file.stat().st_size)
    (inside,) = found["models"]
    whole = inspect_path(model)
    del whole["bytes"]
    assert inside == whole | {"path": f"Dataset901_Phantom/{model.name}"}
    assert not list((tmp_path / "temporary").iterdir())


def test_a_zip_file_without_a_model(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("D/T__P__C/plans.json", "{}")
    with pytest.raises(UserError, match=r"a\.zip: expected a model with plans.json and a fold, found none"):
        inspect_path(tmp_path / "a.zip")


@pytest.mark.parametrize("place", ["folder", "fold", "file", "zip"])
def test_hostile_checkpoints(model, tmp_path, place):
    marker, file = tmp_path / "marker", model / "fold_0" / FINAL
    torch_zip(file, PICKLES["os.system"][1](marker))
    path = {"folder": model, "fold": model / "fold_0", "file": file}.get(place) or packed(model, tmp_path / "a.zip")
    with pytest.raises(UserError, match=rf"{FINAL}: expected only weights, .* asks for os\.system"):
        inspect_path(path)
    assert not marker.exists()


def test_what_is_no_model(tmp_path, model):
    with pytest.raises(UserError, match="a: expected a checkpoint, a model's folder or a zip file of one, found none"):
        inspect_path(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: expected a model's folder .* Give TRAINER__PLANS__CONFIGURATION\."):
        inspect_path(tmp_path / "empty")
    with pytest.raises(UserError, match=rf"expected a model's folder with plans.json, found none. Give one of {model}"):
        inspect_path(model.parent)
    torch.save({"a": 1}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a\.pth: expected a checkpoint with weights, found none"):
        inspect_path(tmp_path / "a.pth")
