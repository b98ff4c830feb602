"""``nnunet_ext select_similar``: the buffer's file, and mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.cli.main import main
from nnunet_ext.methods.sequential_fine_tuning.buffer import read_buffer
from nnunet_ext.prediction.trained_model import TrainedModel

NAME = "Dataset901_Phantom"


@pytest.fixture
def model(preprocessed_phantom: Path) -> Path:
    """A model of the phantoms with random weights."""
    planned = preprocessed_phantom / "preprocessed" / NAME
    plans, described = (json.loads((planned / name).read_text()) for name in ("LitePlans.json", "dataset.json"))
    folder = preprocessed_phantom / "model"
    (folder / "fold_0").mkdir(parents=True)
    plans["configurations"]["3d_fullres"]["patch_size"] = [8, 16, 16]  # smaller than the images
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(described))
    manager = PlansManager(plans)
    torch.manual_seed(0)
    heads = manager.get_label_manager(described).num_segmentation_heads
    of = manager.get_configuration("3d_fullres")
    network = nnUNetTrainer.build_network_architecture(manager, of, len(described["channel_names"]), heads, False)
    content = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres", "plans": plans},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(content, folder / "fold_0" / "checkpoint_final.pth")
    return folder


def run(model: Path, *more: str) -> dict[str, Any]:
    file = model.parent / "buffers.json"
    words = ["select_similar", "-d", "901", "--from", str(model), "-o", str(file), "-k", "2", "--draws", "3", *more]
    assert main(words) == 0
    return json.loads(file.read_text())


def test_scores_of_all_cases(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Chosen first; labels change nothing, the seed of the crops does."""
    found = run(model)
    scores = [each["score"] for each in found["cases"]]
    assert len(scores) == 3
    assert scores == sorted(scores)
    assert len(set(scores)) == 3
    assert [each["chosen"] for each in found["cases"]] == [True, True, False]
    assert found["data"] == f"preprocessed/{NAME}/LitePlans_3d_fullres"
    assert (found["dataset"], found["plans"], found["configuration"]) == (NAME, "LitePlans", "3d_fullres")
    assert (found["draws"], found["seed"]) == (3, 0)
    chosen = tuple(each["case"] for each in found["cases"][:2])
    assert read_buffer(model.parent / "buffers.json").names == chosen
    assert f"2 of 3 cases chosen, {', '.join(chosen)}" in capsys.readouterr().out
    place = model.parent / "preprocessed" / NAME / "LitePlans_3d_fullres"
    shutil.copy(place / "case_001_seg.b2nd", place / "case_000_seg.b2nd")
    assert run(model) == found
    assert [each["score"] for each in run(model, "--seed", "1")["cases"]] != scores


def test_the_control_is_random(model: Path) -> None:
    found = [run(model, "--random", "--seed", str(seed)) for seed in range(6)]
    assert found[0] == run(model, "--random", "--seed", "0")
    assert found[0]["measure"] == "random"
    assert {each["score"] for each in found[0]["cases"]} == {None}
    assert len({tuple(each["case"] for each in content["cases"]) for content in found}) > 1


def test_the_file_without_a_name(model: Path) -> None:
    assert main(["select_similar", "-d", "901", "--from", str(model), "-k", "1", "--draws", "1"]) == 0
    folder = model.parent / "preprocessed" / NAME
    assert len(read_buffer(folder / "buffer_LitePlans_3d_fullres.json").names) == 1


def test_images_that_are_prepared_differently(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(model)
    assert "prepared differently" not in caplog.text
    plans = json.loads((model / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["spacing"] = [9.0, 9.0, 9.0]
    (model / "plans.json").write_text(json.dumps(plans))
    run(model)
    assert "images that are prepared differently (spacing)" in caplog.text


def test_a_network_without_an_encoder(model: Path, mistake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of nnU-Net's Primus trainers."""
    loaded = TrainedModel.load(model)
    loaded.network = torch.nn.Identity()
    monkeypatch.setattr(TrainedModel, "load", lambda _: loaded)
    words = ["select_similar", "-d", "901", "--from", str(model), "-k", "1"]
    assert "expected a network with an encoder, whose features are compared, found Identity" in mistake(words)
    assert main([*words, "--random"]) == 0


def test_mistakes(model: Path, mistake: Any) -> None:
    words = ["select_similar", "-d", "901", "--from", str(model), "-k"]
    assert mistake([*words, "4"]).startswith("-k 4: expected at most 3 cases")
    assert "expected plans, found no file" in mistake([*words, "1", "-p", "NoPlans"])
    folder = model.parent / "preprocessed" / NAME
    plans = json.loads((folder / "LitePlans.json").read_text())
    del plans["configurations"]["3d_fullres"]
    (folder / "Others.json").write_text(json.dumps(plans | {"plans_name": "Others"}))
    assert "expected the model's configuration 3d_fullres, found 2d" in mistake([*words, "1", "-p", "Others"])
    for file in (folder / "LitePlans_3d_fullres").glob("case_000*"):
        file.unlink()
    assert "expected preprocessed data of plans 'LitePlans'" in mistake([*words, "1"])
