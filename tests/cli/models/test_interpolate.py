"""``nnunet_ext interpolate``: a model that stock nnU-Net predicts, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_model import phantom, stock, write_small_model

from nnunet_ext.cli.main import main

HEAD = "decoder.seg_layers.1.bias"
OTHERS = {"background": 0, "vessel": 1, "organ": 2}


def weights(model: Path, fold: int = 0) -> dict[str, torch.Tensor]:
    return torch.load(model / f"fold_{fold}" / "checkpoint_final.pth", weights_only=False)["network_weights"]


def two(root: Path, **changes: Any) -> tuple[Path, Path]:
    """The earlier model has two folds, the later one other weights and, by default, other classes and one fold."""
    old = write_small_model(root / "old", folds=(0, 1))
    new = write_small_model(root / "new", **({"folds": (1,), "labels": OTHERS} | changes))
    return old, new


def test_stock_predicts_the_classes_of_both(tmp_path: Path, capsys: Any) -> None:
    old, new = two(tmp_path)
    (new / "dataset_fingerprint.json").write_text('{"median": 1}')
    target = tmp_path / "between"
    assert main(["interpolate", str(old), str(new), "--weight", "0.25", "-o", str(target)]) == 0
    assert "outputs background, organ, wall, tumour, vessel" in capsys.readouterr().out
    described = json.loads((target / "dataset.json").read_text())
    assert described["labels"] == {"background": 0, "organ": 1, "wall": 2, "tumour": 3, "vessel": 4}
    assert json.loads((target / "dataset_fingerprint.json").read_text()) == {"median": 1}
    assert [each.name for each in target.glob("fold_*")] == ["fold_1"]
    before, after, found = weights(old, 1), weights(new, 1), weights(target, 1)
    name = "encoder.stages.0.0.convs.0.conv.weight"
    torch.testing.assert_close(found[name], 0.75 * before[name] + 0.25 * after[name])
    one, other = before[HEAD], after[HEAD]
    rows = [0.75 * one[0] + 0.25 * other[0], 0.75 * one[1] + 0.25 * other[2], one[2], one[3], other[1]]
    torch.testing.assert_close(found[HEAD], torch.stack(rows))
    labels = stock(target, (1,)).predict_single_npy_array(phantom(), {"spacing": [2.0, 1.0, 1.0]})
    assert set(np.unique(labels)) <= {0, 1, 2, 3, 4}
    assert len(np.unique(labels)) > 1


@pytest.mark.parametrize(("weight", "which"), [("0", 0), ("1", 1)])
def test_the_ends_are_the_models_themselves(tmp_path: Path, weight: str, which: int) -> None:
    models = two(tmp_path, labels=None, folds=(1, 0))
    content = torch.load(models[1] / "fold_0" / "checkpoint_final.pth", weights_only=False)
    moved = {name: tensor + 1 for name, tensor in content["network_weights"].items()}
    torch.save(content | {"network_weights": moved}, models[1] / "fold_0" / "checkpoint_final.pth")
    target = tmp_path / "end"
    assert main(["interpolate", *map(str, models), "--weight", weight, "-o", str(target)]) == 0
    found, expected = weights(target), weights(models[which])
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_whose_plans(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    models = two(tmp_path, spacing=[3.0, 1.0, 1.0], transpose=(1, 0, 2))
    for whose, expected in (("old", 2.0), ("new", 3.0)):
        target = tmp_path / whose / "model"
        assert main(["interpolate", *map(str, models), "--plans", whose, "-o", str(target)]) == 0
        plans = json.loads((target / "plans.json").read_text())
        assert plans["configurations"]["3d_fullres"]["spacing"][0] == expected
        assert "the models prepare images differently (spacing, transpose_forward)" in caplog.text


def test_a_trainer_of_ours_with_nnunets_network_becomes_stock(tmp_path: Path) -> None:
    models = two(tmp_path)
    for name, expected in (("FineTuneTrainer", "nnUNetTrainer"), ("SequentialFineTuningTrainer", "nnUNetTrainer")):
        file = models[1] / "fold_1" / "checkpoint_final.pth"
        torch.save(torch.load(file, weights_only=False) | {"trainer_name": name}, file)
        target = tmp_path / name
        assert main(["interpolate", *map(str, models), "-o", str(target)]) == 0
        content = torch.load(target / "fold_1" / "checkpoint_final.pth", weights_only=False)
        assert content["trainer_name"] == expected


def test_ignore_stays_the_last_label(tmp_path: Path) -> None:
    models = two(tmp_path, labels=OTHERS | {"ignore": 3})
    assert main(["interpolate", *map(str, models), "-o", str(tmp_path / "model")]) == 0
    labels = json.loads((tmp_path / "model" / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "organ": 1, "wall": 2, "tumour": 3, "vessel": 4, "ignore": 5}


def test_names_that_differ_in_case_are_the_same_class(tmp_path: Path) -> None:
    models = two(tmp_path, labels={"background": 0, "Organ": 2, "vessel": 1})
    assert main(["interpolate", *map(str, models), "-o", str(tmp_path / "model")]) == 0
    labels = json.loads((tmp_path / "model" / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "organ": 1, "wall": 2, "tumour": 3, "vessel": 4}
    one, other = weights(models[0], 1)[HEAD], weights(models[1], 1)[HEAD]
    torch.testing.assert_close(weights(tmp_path / "model", 1)[HEAD][1], (one[1] + other[2]) / 2)


def test_channels_in_another_order_are_refused(tmp_path: Path, mistake: Any) -> None:
    """A fine-tuning matches channels by name, so that the first kernels are those of other channels."""
    models = two(tmp_path, channels=2)
    old = write_small_model(tmp_path / "two", channels=2, folds=(1,))
    words = ["interpolate", str(old), str(models[1]), "-o", str(tmp_path / "model")]
    described = json.loads((models[1] / "dataset.json").read_text())
    described["channel_names"] = {"0": "mr 1", "1": "CT"}
    (models[1] / "dataset.json").write_text(json.dumps(described))
    assert "expected the channels in the order of" in mistake(words)
    assert not (tmp_path / "model").exists()
    described["channel_names"] = {"0": "CT", "1": "another"}
    (models[1] / "dataset.json").write_text(json.dumps(described))
    assert main(words) == 0


def test_mistakes(tmp_path: Path, mistake: Any) -> None:
    old, new = two(tmp_path)
    target = tmp_path / "target"
    words = ["interpolate", str(old), str(new), "-o", str(target)]
    assert mistake([*words, "--weight", "1.5"]) == "--weight: expected a number from 0 to 1, got 1.5. Correct it."
    assert mistake([*words, "--weight", "nan"]) == "--weight: expected a number from 0 to 1, got nan. Correct it."
    assert mistake(["interpolate", str(old), str(tmp_path / "no"), "-o", "x"]).startswith(
        f"{tmp_path / 'no'}: expected"
    )
    other = write_small_model(tmp_path / "channels", channels=2, folds=(1,))
    found = mistake(["interpolate", str(old), str(other), "-o", str(target)])
    assert (
        "fold 1: expected two networks with the same tensors, found 'encoder.stages.0.0.convs.0.conv.weight'" in found
    )
    other = write_small_model(tmp_path / "folds", folds=(3,))
    assert "expected a fold that" in mistake(["interpolate", str(old), str(other), "-o", str(target)])
    regions = {"background": 0, "whole": [1, 2, 3], "wall": [2, 3]}
    other = write_small_model(tmp_path / "regions", labels=regions, order=[1, 2], folds=(1,))
    assert "Models with regions must have the same" in mistake(["interpolate", str(old), str(other), "-o", str(target)])
    assert not target.exists()
    target.mkdir()
    assert mistake(words).startswith(f"{target}: expected no such model yet, found one")
