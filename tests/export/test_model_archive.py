"""The zip file of a model: nnU-Net imports it, predicts the same with it, and learns nothing of the machine."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.model_sharing.model_import import install_model_from_zip_file
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from small_model import write_small_model

from nnunet_ext import sockets
from nnunet_ext.base.validated_checkpoint import write_validated_checkpoint
from nnunet_ext.errors import UserError
from nnunet_ext.export import model_archive
from nnunet_ext.export.handed_over_model import HandedOverModel
from nnunet_ext.export.model_archive import export_model
from nnunet_ext.inspection.inspect_path import inspect_path
from nnunet_ext.methods.fine_tune.trainer import FineTuneTrainer

Make = Callable[..., Any]
STEPS = {"num_epochs": 1, "num_iterations_per_epoch": 2}
FINAL = "checkpoint_final.pth"


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., HandedOverModel]:
    def run(model: Path, name: str = "model.zip", folds: tuple[str, ...] = ("0",), **options: Any) -> HandedOverModel:
        return export_model(model, tmp_path / name, folds, show_progress=False, **options)

    return run


def trained(half_labelled: Make, name: str, **knobs: Any) -> Path:
    """Train a few steps, validate, and return the model's folder."""
    trainer = half_labelled(sockets.load("trainers", name), **STEPS | knobs)
    trainer.run_training()
    trainer.perform_actual_validation()
    return Path(trainer.output_folder_base)


def fine_tuned(half_labelled: Make, **knobs: Any) -> Path:
    """Continue a stock training."""
    source = half_labelled(nnUNetTrainer, run="source")
    source.num_epochs, source.num_iterations_per_epoch, source.num_val_iterations_per_epoch = 1, 2, 1
    source.run_training()
    file = Path(source.output_folder) / FINAL
    return trained(half_labelled, FineTuneTrainer.__name__, init_from=str(file), **knobs)


def imported(file: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let nnU-Net's own function import a zip file where this package is not known; return the model's folder."""
    results.mkdir()
    monkeypatch.setenv("nnUNet_results", str(results))
    monkeypatch.delenv(sockets.VARIABLE)
    install_model_from_zip_file(str(file))
    (plans,) = results.rglob("plans.json")
    return plans.parent


def labels(model: Path, images: Path, out: Path, checkpoint: str = FINAL) -> dict[str, np.ndarray]:
    """Label maps by nnU-Net's own predictor."""
    predictor = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,), checkpoint)
    out.mkdir()
    predictor.predict_from_files_sequential(str(images), str(out))
    return {file.name: np.asarray(nibabel.load(file).dataobj) for file in sorted(out.glob("*.nii.gz"))}


def traces(folder: Path, words: list[str]) -> set[str]:
    """Those of the words that are in a byte of a file or in a name below a folder."""
    content = [bytes(str(file.relative_to(folder)), "utf-8") for file in folder.rglob("*")]
    content += [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
    return {word for word in words if any(word.encode() in each for each in content)}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    assert any(each.any() for each in expected.values())
    assert all(np.array_equal(found[case], each) for case, each in expected.items())


def assert_card(card: str, before: dict[str, Any], after: dict[str, Any], trainer: str) -> None:
    ended = datetime.fromtimestamp(before["logging"]["epoch_end_timestamps"][-1], timezone.utc)
    count = sum({tensor.data_ptr(): tensor.numel() for tensor in after["network_weights"].values()}.values())
    lines = card.splitlines()
    for line in (
        "# Model card: Dataset700_Half, 3d_fullres",
        f"- trained: {ended.date().isoformat()}",
        f"- trainer: {trainer}, here as nnUNetTrainer",
        f"- parameters: {count / 1e6:.2f} million",
        "- epochs of each fold: 1",
        "- checkpoint: optimizer_state",
        "- plans.json: nnunet_ext",
    ):
        assert line in lines, line
    assert f"torch {torch.__version__.split('+')[0]}" in card
    of_fine_tuning = {
        "- fine-tuning strategy: lora",
        "## Source model",
        "- dataset: Dataset700_Half",
        "## Before and after",
    }
    assert of_fine_tuning & set(lines) == (of_fine_tuning if trainer == "FineTuneTrainer" else set())


@pytest.mark.parametrize(
    ("name", "knobs"), [("FineTuneTrainer", {"fine_tune": {"strategy": "lora"}}), ("LeFeDTrainer", {})]
)
def test_nnunet_imports_it_and_predicts_the_same(
    half_labelled: Make, export: Any, tmp_path: Path, monkeypatch: Any, name: str, knobs: dict[str, Any]
) -> None:
    is_fine_tuned = name == "FineTuneTrainer"
    model = fine_tuned(half_labelled, **knobs) if is_fine_tuned else trained(half_labelled, name)
    images = tmp_path / "plain" / "raw" / "Dataset700_Half" / "imagesUn"
    description = json.loads((model / "dataset.json").read_text())
    case = {"images": [str(images / "case_000_0000.nii.gz")], "label": "x"}
    (model / "dataset.json").write_text(json.dumps(description | {"dataset": {"case_000": case}, "description": "CT"}))
    expected = labels(model, images, tmp_path / "ours")
    words = [str(tmp_path), "case_00", "param_groups", "epoch_end_timestamps"]
    assert traces(model, words) == set(words)

    made = export(model, card=tmp_path / "card.md")
    assert made.reason is None
    found = imported(tmp_path / "model.zip", tmp_path / "elsewhere", monkeypatch)
    assert found.relative_to(tmp_path / "elsewhere") == Path("Dataset700_Half/nnUNetTrainer__LitePlans__3d_fullres")
    assert sorted(str(file.relative_to(found)) for file in found.rglob("*") if file.is_file()) == [
        "MODEL_CARD.md",
        "dataset.json",
        "dataset_fingerprint.json",
        "fold_0/checkpoint_final.pth",
        "fold_0/progress.png",
        "fold_0/validation/summary.json",
        "plans.json",
    ]
    assert traces(found, [*words, "init_from", str(Path.home()), "nnUNet_results", "unlabelled_00"]) == set()
    assert (found / "MODEL_CARD.md").read_text() == (tmp_path / "card.md").read_text()
    assert_same(labels(found, images, tmp_path / "theirs"), expected)

    content = torch.load(found / "fold_0" / FINAL, weights_only=True)
    before = torch.load(model / "fold_0" / FINAL, weights_only=False)
    assert content["trainer_name"] == "nnUNetTrainer"
    assert content["exported_from"] == {"trainer": name}
    assert set(content["init_args"]) == {"plans", "configuration", "fold", "dataset_json"}
    assert set(content) <= set(before) | {"exported_from"}
    assert (len(content["network_weights"]) == len(before["network_weights"])) == is_fine_tuned
    for plans in (json.loads((found / "plans.json").read_text()), content["init_args"]["plans"]):
        assert "nnunet_ext" not in plans
        assert plans["plans_name"] == "LitePlans"
    assert_card((tmp_path / "card.md").read_text(), before, content, name)
    facts = inspect_path(tmp_path / "model.zip")["models"][0]
    original = inspect_path(model)["folds"][0]["validation_dice"]
    assert facts["folds"][0]["validation_dice"] == original


def test_other_networks_keep_their_trainer(half_labelled: Make, export: Any, tmp_path: Path, monkeypatch: Any) -> None:
    knobs: dict[str, Any] = {"ba_net": {"boundary_width": 5}}
    model = trained(half_labelled, "BANetTrainer", **knobs)
    plans = json.loads((model / "plans.json").read_text())
    plans["nnunet_ext"]["init_from"] = str(tmp_path / "source.pth")
    plans["configurations"]["3d_fullres"]["nnunet_ext"] = {"init_from": "../source.pth"}
    (model / "plans.json").write_text(json.dumps(plans))
    images = tmp_path / "plain" / "raw" / "Dataset700_Half" / "imagesUn"
    expected = labels(model, images, tmp_path / "ours")
    made = export(model)
    assert (made.trainer, made.tensors) == ("BANetTrainer", None)
    assert made.reason is not None
    assert "BANetTrainer does not, or not with its knobs" in made.reason
    with monkeypatch.context() as elsewhere:
        found = imported(tmp_path / "model.zip", tmp_path / "elsewhere", elsewhere)
    assert found.name == "BANetTrainer__LitePlans__3d_fullres"
    assert traces(found, [str(tmp_path), "case_00", "source.pth", "param_groups"]) == set()
    kept = json.loads((found / "plans.json").read_text())["nnunet_ext"]
    assert kept == {key: value for key, value in plans["nnunet_ext"].items() if key != "init_from"}
    assert_same(labels(found, images, tmp_path / "theirs"), expected)


def test_a_view_but_no_collection(untrained: Path, export: Any) -> None:
    view, of = next((untrained / "results" / "Dataset901_Organ").glob("UniSegTrainer__*")), "Dataset900_Shared"
    made = export(view)
    assert made.name == f"Dataset901_Organ/{view.name}"
    with zipfile.ZipFile(export.__closure__[0].cell_contents / "model.zip") as archive:
        plans = json.loads(archive.read(f"{made.name}/plans.json"))
        assert archive.read(f"{made.name}/fold_0/progress.png") == b"curve"
    assert plans["collection"]["task"] == "organ"
    assert "manifest" not in plans["collection"]
    with pytest.raises(UserError, match="found that of a collection"):
        export(next((untrained / "results" / of).glob("UniSegTrainer__*")), "other.zip")


def test_equal_models_give_equal_files(export: Any, tmp_path: Path) -> None:
    model = write_small_model(tmp_path / "results", folds=(0, 1))
    made = export(model, "first.zip", ("0", "1"))
    assert (made.trainer, made.folds, made.reason) == ("nnUNetTrainer", ("0", "1"), None)
    copy = tmp_path / "copy" / model.parent.name / model.name
    shutil.copytree(model, copy)
    export(copy, "second.zip", ("0", "1"))
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "first.zip") as archive:
        assert {each.date_time for each in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert all(each.external_attr >> 16 == 0o644 for each in archive.infolist())
    export(model, "third.zip", ("1",), plans_name="Other")
    with zipfile.ZipFile(tmp_path / "third.zip") as archive:
        names = archive.namelist()
        plans = json.loads(archive.read("Dataset901_Phantom/nnUNetTrainer__Other__3d_fullres/plans.json"))
    assert names[0] == "Dataset901_Phantom/nnUNetTrainer__Other__3d_fullres/fold_1/checkpoint_final.pth"
    assert plans["plans_name"] == "Other"
    assert not any("fold_0" in name for name in names)


def test_scores_are_those_of_the_checkpoint(export: Any, tmp_path: Path, caplog: Any) -> None:
    model, best = write_small_model(tmp_path / "results"), "checkpoint_best.pth"
    fold = model / "fold_0"
    shutil.copy(fold / FINAL, fold / best)
    (fold / "validation").mkdir()
    (fold / "validation" / "summary.json").write_text(json.dumps({"mean": {"1": {"Dice": 0.5}}, "metric_per_case": []}))

    def has_summary(name: str, checkpoint: str) -> bool:
        export(model, name, checkpoint=checkpoint)
        with zipfile.ZipFile(tmp_path / name) as archive:
            names = {Path(each).name for each in archive.namelist()}
        assert checkpoint in names
        return "summary.json" in names

    assert has_summary("final.zip", FINAL)
    assert not has_summary("best.zip", best)
    assert f"no scores of {best}, so the zip file has none of this fold" in caplog.text
    write_validated_checkpoint(fold / "validation", best)
    assert not has_summary("final_again.zip", FINAL)
    assert has_summary("best_again.zip", best)


def test_no_file_is_replaced_and_none_is_left(export: Any, tmp_path: Path, monkeypatch: Any) -> None:
    model = write_small_model(tmp_path / "results")
    for name in ("model.zip", "card.md"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(UserError, match=f"{name}: expected no such file yet, found one"):
            export(model, card=tmp_path / "card.md")
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
        assert not (tmp_path / "model.zip").exists()

    def meanwhile(made: HandedOverModel, file: Path, show_progress: bool) -> str:
        text = write(made, file, show_progress)
        (tmp_path / "model.zip").write_text("theirs")
        return text

    write = model_archive._write
    monkeypatch.setattr(model_archive, "_write", meanwhile)
    with pytest.raises(UserError, match=r"model\.zip: expected no such file yet, found one"):
        export(model)
    assert (tmp_path / "model.zip").read_text() == "theirs"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.zip", "results"]


@pytest.mark.parametrize("changed", ["plans", "weights", "axes"])
def test_a_zip_file_that_predicts_otherwise_is_not_kept(
    export: Any, tmp_path: Path, monkeypatch: Any, changed: str
) -> None:
    model = write_small_model(tmp_path / "results", folds=(0, 1))
    plans, checkpoint = HandedOverModel.files, HandedOverModel.checkpoint

    def other_plans(made: HandedOverModel) -> dict[str, bytes]:
        files = plans(made)
        return files | {"plans.json": files["plans.json"].replace(b"LeakyReLU", b"ReLU")}

    def other_weights(made: HandedOverModel, fold: str) -> dict[str, Any]:
        content = checkpoint(made, fold)
        name, tensor = next(iter(content["network_weights"].items()))
        return content | ({"network_weights": content["network_weights"] | {name: tensor + 1}} if fold == "1" else {})

    def other_axes(made: HandedOverModel, fold: str) -> dict[str, Any]:
        return checkpoint(made, fold) | {"inference_allowed_mirroring_axes": (0,)}

    name, replacement = {
        "plans": ("files", other_plans),
        "weights": ("checkpoint", other_weights),
        "axes": ("checkpoint", other_axes),
    }[changed]
    monkeypatch.setattr(HandedOverModel, name, replacement)
    fold = "1" if changed == "weights" else "0"
    with pytest.raises(UserError, match=f"expected a zip file that predicts as fold {fold} does, but it does not"):
        export(model, folds=("0", "1"))
    assert [file.name for file in tmp_path.iterdir()] == ["results"]


def test_a_trainer_that_is_not_installed(export: Any, tmp_path: Path) -> None:
    model = write_small_model(tmp_path / "results")
    file = model / "fold_0" / FINAL
    torch.save(torch.load(file, weights_only=True) | {"trainer_name": "TheirTrainer"}, file)
    with pytest.raises(UserError, match=r"expected nnU-Net to find the trainer 'TheirTrainer', got .* Install"):
        export(model)


def test_a_trainer_of_nnunet_keeps_its_name(export: Any, tmp_path: Path) -> None:
    model = write_small_model(tmp_path / "results")
    file = model / "fold_0" / FINAL
    torch.save(torch.load(file, weights_only=True) | {"trainer_name": "nnUNetTrainer_5epochs"}, file)
    assert export(model).name == "Dataset901_Phantom/nnUNetTrainer_5epochs__nnUNetPlans__3d_fullres"
