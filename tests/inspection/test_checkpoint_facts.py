"""What checkpoints of nnU-Net v2, v1 and nnssl say."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_files import PICKLES
from torch import nn

from nnunet_ext.errors import UserError
from nnunet_ext.inspection.checkpoint_facts import checkpoint_facts, trainer_facts

HERE = Path("a.pth")


def test_a_checkpoint_of_v2():
    network = nn.Sequential(nn.Conv2d(1, 1000, 10), nn.BatchNorm2d(1000))
    weights = network.state_dict()
    content = {
        "network_weights": weights | {"alias": weights["0.weight"]},
        "optimizer_state": {},
        "trainer_name": "BANetTrainer",
        "current_epoch": 12,
        "_best_ema": 0.5,
        "init_args": {
            "plans": {"plans_name": "LitePlans", "dataset_name": "Dataset004_Hippocampus", "configurations": {}},
            "configuration": "2d",
            "fold": 0,
            "dataset_json": {"labels": {"background": 0, "Anterior": 1}},
            "nnunet_ext": {"cases": {}},
        },
        "inference_allowed_mirroring_axes": (0, 1),
    }
    assert checkpoint_facts(content, HERE) == {
        "kind": "nnU-Net v2 checkpoint",
        "trainer": "BANetTrainer",
        "method": "BA-Net",
        "trainer_is_installed": True,
        "dataset": "Dataset004_Hippocampus",
        "plans": "LitePlans",
        "configuration": "2d",
        "classes": {"Anterior": 1},
        "fold": 0,
        "epochs": 12,
        "mirroring_axes": [0, 1],
        "records_its_data": True,
        "resumable": True,
        "parameters_in_millions": 0.103,  # 100 000 weights, three times 1000 numbers; no buffers, no alias
    }


def test_what_it_was_made_from():
    content = {"network_weights": {}, "stripped_from": {"trainer": "LeFeDTrainer", "plans": "nnUNetPlans"}}
    found = checkpoint_facts(content, HERE)
    expected = {"kind": "nnU-Net v2 checkpoint", "resumable": False, "made_from": content["stripped_from"]}
    assert found == expected


def test_nnssl_and_weights_alone():
    nnssl = {"network_weights": {"w": torch.zeros(1000)}, "nnssl_adaptation_plan": {}}
    assert checkpoint_facts(nnssl, HERE)["kind"] == "nnssl checkpoint"
    for content in ({"w": torch.zeros(1000)}, {"state_dict": {"w": torch.zeros(1000)}}):
        assert checkpoint_facts(content, HERE) == {"kind": "weights", "parameters_in_millions": 0.001}
    for nothing in ({"a": 1}, [torch.zeros(1)], None):
        assert checkpoint_facts(nothing, HERE) == {"kind": "no checkpoint"}


def test_a_checkpoint_of_v1(tmp_path):
    content = {"epoch": 1000, "state_dict": OrderedDict(w=torch.zeros(5000)), "plot_stuff": ([], [], [], [])}
    expected = {"kind": "nnU-Net v1 checkpoint", "epochs": 1000, "parameters_in_millions": 0.005}
    assert checkpoint_facts(content, tmp_path / "a.model") == expected
    stage = {"patch_size": np.array([48, 96]), "current_spacing": np.array([1.0, 0.5]), "batch_size": 2}
    plans = {
        "plans_per_stage": {0: {}, 1: stage | {"num_pool_per_axis": [3, 4]}},
        "base_num_features": 32,
        "all_classes": [1, 2],
        "modalities": {0: "CT"},
    }
    (tmp_path / "a.model.pkl").write_bytes(pickle.dumps({"name": "nnUNetTrainerV2", "plans": plans}))
    assert checkpoint_facts(content, tmp_path / "a.model") == expected | {
        "trainer": "nnUNetTrainerV2",
        "classes": [1, 2],
        "channels": {"0": "CT"},
        "spacing": [1.0, 0.5],
        "patch_size": [48, 96],
        "batch_size": 2,
        "architecture": {"features": 32, "pooling_per_axis": [3, 4]},
    }
    (tmp_path / "a.model.pkl").write_bytes(PICKLES["eval"][1](tmp_path / "marker"))
    with pytest.raises(
        UserError, match=r"a\.model\.pkl: expected only numbers and text, but it asks for builtins\.eval"
    ):
        checkpoint_facts(content, tmp_path / "a.model")
    assert not (tmp_path / "marker").exists()
    checkpoint_facts(content, tmp_path / "a.model", trust=True)
    assert (tmp_path / "marker").exists()


def test_trainers():
    assert trainer_facts("nnUNetTrainer")["trainer_is_installed"]
    assert not trainer_facts("LostTrainer")["trainer_is_installed"]
    assert trainer_facts("UniSegTrainer")["method"] == "UniSeg"
    assert trainer_facts(7) == trainer_facts(None) == {}
