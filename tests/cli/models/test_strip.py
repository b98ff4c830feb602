"""``nnunet_ext strip``: a stock model that predicts the same, and its mistakes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext import sockets
from nnunet_ext.base.validated_checkpoint import write_validated_checkpoint
from nnunet_ext.cli.main import main

Make = Callable[..., Any]


def trained(half_labelled: Make, name: str, **knobs: Any) -> Path:
    """Train a few steps and return the model's folder."""
    trainer = half_labelled(sockets.load("trainers", name), num_epochs=1, num_iterations_per_epoch=1, **knobs)
    trainer.run_training()
    return Path(trainer.output_folder_base)


def words(name: str, *more: str) -> list[str]:
    return ["strip", "-d", "700", "-c", "3d_fullres", "-tr", name, "-p", "LitePlans", *more]


def predict(model: Path, images: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Run nnUNetv2_predict on a model; return the label maps by name."""
    trainer, plans, configuration = model.name.split("__")
    options = f"-d 700 -c {configuration} -tr {trainer} -p {plans} -f 0 -device cpu -npp 0 -nps 0 --disable_tta"
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_predict", "-i", str(images), "-o", str(out), *options.split()])
    predict_entry_point()
    return {file.name: np.asarray(nibabel.load(file).dataobj) for file in sorted(out.glob("*.nii.gz"))}


@pytest.mark.parametrize("name", ["LeFeDTrainer", "MCNetPlusTrainer"])
def test_the_stripped_model_is_stock_nnunets_and_predicts_the_same(half_labelled: Make, tmp_path, monkeypatch, name):
    model = trained(half_labelled, name)
    images = model.parents[2] / "raw" / model.parent.name / "imagesUn"
    assert main(words(name)) == 0
    target = model.with_name(f"nnUNetTrainer__LitePlans{name.removesuffix('Trainer')}__3d_fullres")
    file = target / "fold_0" / "checkpoint_final.pth"
    before = torch.load(model / "fold_0" / "checkpoint_final.pth", weights_only=False)
    after = torch.load(file, weights_only=False)
    assert len(after["network_weights"]) < len(before["network_weights"])
    assert after["trainer_name"] == "nnUNetTrainer"
    assert after["stripped_from"] == {"trainer": name, "plans": "LitePlans"}

    expected = predict(model, images, tmp_path / "whole", monkeypatch)
    monkeypatch.setenv(sockets.VARIABLE, "")  # as where this package is not installed
    found = predict(target, images, tmp_path / "stripped", monkeypatch)
    assert sorted(found) == [f"unlabelled_00{index}.nii.gz" for index in range(3)]
    assert found.keys() == expected.keys()
    assert any(labels.any() for labels in expected.values())
    for case, labels in expected.items():
        assert np.array_equal(found[case], labels)

    plain = half_labelled(nnUNetTrainer)
    plain.initialize()
    load_pretrained_weights(plain.network, str(file))  # -pretrained_weights
    plain.load_checkpoint(str(file))
    assert all(
        torch.equal(tensor, before["network_weights"][key]) for key, tensor in plain.network.state_dict().items()
    )
    assert plain.optimizer.param_groups[0]["momentum"] == 0.99


def content(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_one_fold_after_the_other_but_never_over_another_model(half_labelled: Make, mistake):
    model = trained(half_labelled, "LeFeDTrainer")
    shutil.copytree(model / "fold_0", model / "fold_1")
    shutil.copytree(model / "fold_0", model / "fold_all")
    target = model.with_name("nnUNetTrainer__Mine__3d_fullres")
    target.mkdir()
    command = words("LeFeDTrainer", "--as", "Mine", "-f")
    assert main([*command, "0"]) == 0
    first = content(target / "fold_0")
    assert main([*command, "1"]) == 0
    assert content(target / "fold_0") == first
    assert sorted(path.name for path in target.iterdir()) == [
        "dataset.json",
        "dataset_fingerprint.json",
        "fold_0",
        "fold_1",
        "plans.json",
    ]

    def refused() -> None:
        before = content(model.parent)
        assert mistake([*command, "all"]) == (
            f"{target}: expected no model of that name, or one stripped from LeFeDTrainer__LitePlans__3d_fullres, "
            f"found another. Choose another name with --as."
        )
        assert content(model.parent) == before

    checkpoint = target / "fold_1" / "checkpoint_final.pth"
    checkpoint.rename(checkpoint.with_name("checkpoint.bak"))  # a training that has not saved yet
    refused()
    stripped = torch.load(target / "fold_0" / "checkpoint_final.pth", weights_only=False)
    for origin in (None, {"trainer": "MCNetPlusTrainer", "plans": "LitePlans"}):
        torch.save(stripped | {"stripped_from": origin}, checkpoint)
        refused()
    torch.save(stripped, checkpoint)
    plans = json.loads((target / "plans.json").read_text())
    (target / "plans.json").write_text(json.dumps(plans | {"nnunet_ext": {"num_epochs": 9}}))
    refused()
    (target / "plans.json").unlink()
    refused()
    (target / "plans.json").write_text(json.dumps(plans))
    assert main([*command, "all"]) == 0
    assert (target / "fold_all" / "checkpoint_final.pth").is_file()
    shutil.rmtree(target)
    target.write_text("")
    refused()


def test_the_summary_is_of_the_checkpoint_that_is_stripped(half_labelled: Make, caplog):
    """nnU-Net writes the scores of final and best (--val_best) to the same place."""
    model = trained(half_labelled, "LeFeDTrainer")
    validation = model / "fold_0" / "validation"
    validation.mkdir()
    (validation / "summary.json").write_text("{}")
    final, best = "checkpoint_final.pth", "checkpoint_best.pth"
    for number, (validated, stripped) in enumerate(((None, final), (None, best), (best, final), (best, best))):
        if validated is not None:
            write_validated_checkpoint(validation, validated)
        caplog.clear()
        assert main(words("LeFeDTrainer", "-chk", stripped, "--as", f"Mine{number}")) == 0
        fold = model.with_name(f"nnUNetTrainer__Mine{number}__3d_fullres") / "fold_0"
        assert (fold / stripped).is_file()
        belongs = (validated or final) == stripped
        assert (fold / "validation" / "summary.json").is_file() == belongs
        assert (f"holds the scores of {validated or final}, not those of {stripped}" in caplog.text) != belongs


def test_models_that_need_more_than_the_u_net_are_refused(half_labelled: Make, mistake):
    model = trained(half_labelled, "LeFeDTrainer", lefed={"mean_of_decoders": True})
    text = mistake(words("LeFeDTrainer"))
    assert text.startswith(f"{model / 'fold_0' / 'checkpoint_final.pth'}: expected a network that predicts with the ")
    assert not list(model.parent.glob("nnUNetTrainer__*"))

    trained(half_labelled, "LeFeDTrainer", lefed={"own_decoder": True})
    assert "expected the plans' U-Net in the network, but 'decoder." in mistake(words("LeFeDTrainer"))
    trained(half_labelled, "BANetTrainer")
    assert "expected a network that predicts with the plans' U-Net alone, but BANetTrainer" in mistake(
        words("BANetTrainer")
    )


def test_mistakes(half_labelled: Make, mistake):
    model = trained(half_labelled, "LeFeDTrainer")
    assert "expected a trained model, found none" in mistake(words("MCNetPlusTrainer"))
    assert "expected the checkpoint of fold 3" in mistake(words("LeFeDTrainer", "-f", "3"))
    assert "expected a fold with checkpoint_x.pth, found none" in mistake(
        words("LeFeDTrainer", "-chk", "checkpoint_x.pth")
    )
    assert mistake(words("LeFeDTrainer", "--as", "a__b")).startswith("--as 'a__b': expected letters, digits")
    assert main(words("LeFeDTrainer", "--as", "Small")) == 0
    plans = json.loads((model.with_name("nnUNetTrainer__Small__3d_fullres") / "plans.json").read_text())
    assert plans["plans_name"] == "Small"
    text = mistake(words("LeFeDTrainer", "--as", "Small"))
    assert "expected no such checkpoint yet, found one. Choose another name with --as." in text
    model.rename(model.with_name("nnUNetTrainer__LitePlans__3d_fullres"))
    assert "expected a trainer of nnunet_ext, got 'nnUNetTrainer'" in mistake(words("nnUNetTrainer"))


@pytest.mark.parametrize(("name", "text"), [("dataset.json", "{"), ("dataset.json", "{}"), ("plans.json", "{}")])
def test_a_model_with_a_broken_file(tmp_path, monkeypatch, mistake, name, text):
    for part in ("raw", "preprocessed", "results"):
        (tmp_path / part).mkdir()
        monkeypatch.setenv(f"nnUNet_{part}", str(tmp_path / part))
    model = tmp_path / "results" / "Dataset700_Half" / "LeFeDTrainer__LitePlans__3d_fullres"
    (model / "fold_0").mkdir(parents=True)
    plans = {"plans_name": "LitePlans", "configurations": {"3d_fullres": {}}}
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text("{}")
    (model / name).write_text(text)
    weights = {"network_weights": {}, "init_args": {"plans": plans, "configuration": "3d_fullres"}}
    weights |= {"trainer_name": "LeFeDTrainer", "optimizer_state": {}}
    torch.save(weights, model / "fold_0" / "checkpoint_final.pth")
    assert f"{model / name}: expected " in mistake(words("LeFeDTrainer", "-f", "0"))


def test_a_checkpoint_that_is_no_trainings_or_does_not_fit(half_labelled: Make, mistake):
    file = trained(half_labelled, "LeFeDTrainer") / "fold_0" / "checkpoint_final.pth"
    whole = torch.load(file, weights_only=False)
    for gone in ("init_args", "optimizer_state"):
        torch.save({name: value for name, value in whole.items() if name != gone}, file)
        assert f"{file}: expected a checkpoint of a training, found one without '{gone}'" in mistake(
            words("LeFeDTrainer")
        )
    torch.save(whole | {"network_weights": {"other": torch.zeros(1)}}, file)
    assert f"{file}: expected weights of the network in its plans" in mistake(words("LeFeDTrainer"))
