"""TransDoDNet's plans: the network for all tasks, dynamic head included, fits the budget of the stock planner."""

from __future__ import annotations

import json

import numpy as np
import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
)

from nnunet_ext.transdodnet.planner import TransDoDNetPlanner, TransDoDNetResEncLPlanner, TransDoDNetResEncMPlanner

NAME = "Dataset900_Planned"
LARGE = {"cases": 40, "spacing": (3.0, 0.8, 0.8), "shape": (80, 280, 280)}
LIVER = LARGE | {"labels": {"background": 0, "liver": 1, "tumour": 2}}
BRAIN = LARGE | {"channels": ("T1", "T2", "T1c", "FLAIR")}


def configuration(plans: dict) -> dict:
    return plans["configurations"]["3d_fullres"]


def test_the_estimate_counts_tokens_and_head(fingerprinted):
    fingerprinted({"liver": LIVER, "brain": BRAIN})
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": 3,
            "features_per_stage": [32, 64, 128],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * 3,
            "strides": [[1, 1, 1], [2, 4, 4], [2, 2, 2]],
            "n_conv_per_stage": [2, 2, 2],
            "n_conv_per_stage_decoder": [2, 2],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ("conv_op", "norm_op", "dropout_op", "nonlin"),
    }
    ours, theirs = (
        planner.static_estimate_VRAM_usage((16, 32, 64), 4, 3, *architecture.values())
        for planner in (TransDoDNetPlanner(NAME), ExperimentPlanner("Dataset001_liver"))
    )
    head = 16 * 32 * 64 * ((8 - 3) + 3 * 8 + 2 * 3)  # 8 features, not 3 classes; logits also as they are bounded
    # a token in each of 3 encoder layers: 2 levels x 4 points x 192 channels sampled, 8 heads' places and weights,
    # 2 x 768 and 8 x 192; in each of 3 decoder layers 192; one projection
    of_token = 3 * (2 * 4 * 192 + 2 * 4 * 8 * 4 + 2 * 768 + 8 * 192) + 3 * 192 + 192
    coarsest = 4 * 4 * 8
    assert ours - theirs == head + (8 * 8 * 16 + coarsest) * of_token + 2 * 128 * coarsest


@pytest.mark.parametrize(
    ("planner", "stock", "name"),
    [
        (TransDoDNetPlanner, ExperimentPlanner, "TransDoDNetPlans"),
        (TransDoDNetResEncMPlanner, nnUNetPlannerResEncM, "TransDoDNetResEncMPlans"),
        (TransDoDNetResEncLPlanner, nnUNetPlannerResEncL, "TransDoDNetResEncLPlans"),
    ],
)
def test_patch_and_batch_fit_the_stock_budget(planner, stock, name, fingerprinted):
    folder = fingerprinted({"liver": LIVER, "brain": BRAIN})
    ours, theirs = planner(NAME).plan_experiment(), stock("Dataset002_brain").plan_experiment()
    assert ours["plans_name"] == name
    mine, stocks = configuration(ours), configuration(theirs)
    assert mine["architecture"]["network_class_name"] == stocks["architecture"]["network_class_name"]
    voxels, stock_voxels = (c["batch_size"] * np.prod(c["patch_size"]) for c in (mine, stocks))
    assert 0.5 * stock_voxels < voxels <= stock_voxels
    for dataset in ("Dataset001_liver", "Dataset002_brain"):
        member = json.loads((folder.parent / dataset / f"{name}_{NAME}.json").read_text())
        assert configuration(member)["patch_size"] == list(mine["patch_size"])
        assert configuration(member)["data_identifier"] == f"{name}_{NAME}_3d_fullres"
