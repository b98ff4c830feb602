"""What inspect says of a checkpoint that nnssl pre-trained, whatever is in it."""

import pytest
import torch
from nnssl_checkpoint import KEY, adaptation_plan, network_of, write_nnssl

from nnunet_ext.inspection.inspect_path import inspect_path
from nnunet_ext.inspection.nnssl_facts import nnssl_facts


def test_a_checkpoint(tmp_path):
    network = network_of()
    file = write_nnssl(tmp_path / "a.pth", network, adaptation_plan(network))
    found = inspect_path(file)
    size = found.pop("bytes")
    assert size == file.stat().st_size
    assert found == {
        "kind": "nnssl checkpoint",
        "path": str(file),
        "trainer": "BaseMAETrainer_BS8",
        "method": "masked autoencoder",
        "dataset": "Dataset745_OpenMind",
        "pretraining_datasets": 1,
        "plans": "nnsslPlans",
        "configuration": "onemmiso",
        "spacing": [1.0, 1.0, 1.0],
        "patch_size": [160, 160, 160],
        "channels": 1,
        "normalization_schemes": ["ZScoreNormalization"],
        "architecture": {
            "class": "ResidualEncoderUNet",
            "stages": 3,
            "features": [4, 6, 8],
            "kernels": [[3, 3, 3]] * 3,
            "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        },
        "citations": ["OpenMind", "nnssl"],
        "fold": "all",
        "epochs": 1000,
        "resumable": True,
        "parameters_in_millions": round(sum(each.numel() for each in network.parameters()) / 1e6, 6),
    }


@pytest.mark.parametrize(
    ("trainer", "method"),
    [
        ("SparkMAETrainer", "S3D (sparse masked autoencoder)"),
        ("VoCoTrainer", "VoCo"),
        ("SimCLRTrainer_BS32", "SimCLR"),
        ("GreatTrainer", None),
        (7, None),
    ],
)
def test_methods(trainer, method):
    assert nnssl_facts({"trainer_name": trainer}).get("method") == method


def test_the_datasets_of_the_collection_are_counted_before_those_that_are_cited():
    plan = {"citations": [{"type": "dataset"}, {"type": "Dataset"}, {"type": "Architecture"}, 3]}
    assert nnssl_facts({KEY: plan})["pretraining_datasets"] == 2
    collection = {"pretrain_json": {"datasets": {"a": {}, "b": {}, "c": {}}}}
    assert nnssl_facts({KEY: plan, "init_args": collection})["pretraining_datasets"] == 3


@pytest.mark.parametrize(
    "plan", [None, 3, [], {}, {"pretrain_plan": 3}, {"pretrain_plan": {"configurations": {}}}, {"citations": "x"}]
)
def test_anything_may_be_in_it(plan):
    assert nnssl_facts({KEY: plan, "network_weights": {"a": torch.zeros(1)}}) == {}
