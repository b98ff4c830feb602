"""What plans and dataset.json say, and what they do not say."""

from __future__ import annotations

import pytest

from nnunet_ext.inspection.plans_facts import plans_facts

PARENT = {
    "spacing": [2.0, 1.0, 1.0],
    "patch_size": [8, 16, 16],
    "batch_size": 2,
    "normalization_schemes": ["CTNormalization"],
    "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": 2,
            "features_per_stage": [4, 8],
            "kernel_sizes": [[3] * 3] * 2,
            "strides": [[1] * 3],
        },
    },
    "nnunet_ext": {"format": 1, "num_epochs": 7, "ba_net": {"boundary_width": 5}},
}
PLANS = {
    "dataset_name": "Dataset004_Hippocampus",
    "plans_name": "nnUNetPlans",
    "configurations": {
        "3d_fullres": PARENT,
        "child": {
            "inherits_from": "3d_fullres",
            "batch_size": 4,
            "nnunet_ext": {"ba_net": {"boundary_loss_weight": 0.25}},
        },
    },
    "nnunet_ext": {"format": 1, "num_epochs": 5, "seed": 3, "ba_net": {"boundary_width": 3}},
}
DATASET = {
    "labels": {"background": 0, "Anterior": 1, "Posterior": 2, "ignore": 3},
    "channel_names": {"0": "MRI"},
    "file_ending": ".nii.gz",
    "numTraining": 260,
}


def test_plans():
    assert plans_facts(PLANS, DATASET, "3d_fullres") == {
        "dataset": "Dataset004_Hippocampus",
        "plans": "nnUNetPlans",
        "configuration": "3d_fullres",
        "classes": {"Anterior": 1, "Posterior": 2},
        "ignore_label": 3,
        "channels": {"0": "MRI"},
        "file_ending": ".nii.gz",
        "training_cases": 260,
        "spacing": [2.0, 1.0, 1.0],
        "patch_size": [8, 16, 16],
        "batch_size": 2,
        "normalization_schemes": ["CTNormalization"],
        "architecture": {
            "class": "PlainConvUNet",
            "stages": 2,
            "features": [4, 8],
            "kernels": [[3, 3, 3], [3, 3, 3]],
            "strides": [[1, 1, 1]],
        },
        "knobs": {"num_epochs": 7, "seed": 3, "ba_net": {"boundary_width": 5}},
    }


def test_a_configuration_that_inherits():
    """The nearest comes last; of a method's knobs each one by itself, as in a training."""
    found = plans_facts(PLANS, DATASET, "child")
    assert (found["batch_size"], found["patch_size"]) == (4, [8, 16, 16])
    knobs = {"num_epochs": 7, "seed": 3, "ba_net": {"boundary_width": 5, "boundary_loss_weight": 0.25}}
    assert found["knobs"] == knobs


def test_configurations_that_inherit_from_each_other():
    circle = {"configurations": {"a": {"inherits_from": "b"}, "b": {"inherits_from": "a", "batch_size": 2}}}
    assert plans_facts(circle, None, "a") == {"configuration": "a", "batch_size": 2}


def test_regions():
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    found = plans_facts(None, {"labels": labels, "modality": {"0": "T1"}}, None)
    assert found == {"regions": {"whole": [1, 2], "core": [2]}, "channels": {"0": "T1"}}


def test_plans_before_nnunet_2_4():
    planned = {"UNet_class_name": "PlainConvUNet", "conv_kernel_sizes": [[3, 3]] * 3, "pool_op_kernel_sizes": [[1, 1]]}
    found = plans_facts({"configurations": {"2d": planned}}, None, "2d")
    expected = {"class": "PlainConvUNet", "stages": 3, "kernels": [[3, 3]] * 3, "strides": [[1, 1]]}
    assert found["architecture"] == expected


def test_a_collection_and_a_view():
    tasks = [{"name": "liver", "dataset": "Dataset003_Liver", "channels": 1, "heads": 3, "cases": 131, "weight": None}]
    block = {"format": 1, "name": "Dataset900_MOTS", "tasks": tasks}
    found = plans_facts({"collection": block}, None, None)
    task = {"name": "liver", "dataset": "Dataset003_Liver", "channels": 1, "heads": 3, "cases": 131}
    assert found == {"collection": "Dataset900_MOTS", "tasks": [task]}
    assert plans_facts({"collection": block | {"task": "liver"}}, None, None)["task"] == "liver"


@pytest.mark.parametrize(
    "plans", [None, [], {}, {"configurations": 3}, {"configurations": {"2d": 3}}, {"collection": 1}]
)
@pytest.mark.parametrize("dataset_json", [None, [], {"labels": 3}])
def test_what_says_nothing(plans, dataset_json):
    assert plans_facts(plans, dataset_json, "2d") == {"configuration": "2d"}
