"""UniSeg's plans: the network for all tasks, FUSE included, fits the budget of the stock planner."""

from __future__ import annotations

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from small_unet import planned_unet

from nnunet_ext.methods.uniseg.planner import UniSegPlanner

NAME = "Dataset900_Planned"
LARGE = {"cases": 40, "spacing": (3.0, 0.8, 0.8), "shape": (80, 280, 280)}
LIVER = LARGE | {"labels": {"background": 0, "liver": 1, "tumour": 2}}
BRAIN = LARGE | {"channels": ("T1", "T2", "T1c", "FLAIR")}


def configuration(plans: dict) -> dict:
    return plans["configurations"]["3d_fullres"]


def test_the_estimate_counts_fuse_for_every_task(fingerprinted):
    fingerprinted({"liver": LIVER, "brain": BRAIN, "lung": LARGE})
    planner, stock = UniSegPlanner(NAME), ExperimentPlanner("Dataset001_liver")
    architecture = planned_unet([[1, 1, 1], [1, 2, 2], [2, 2, 2]], features=[32, 64, 128], convolutions=2)
    ours, theirs = (
        each.static_estimate_VRAM_usage((16, 32, 64), 4, 3, *architecture.values()) for each in (planner, stock)
    )
    bottleneck = 8 * 8 * 16
    assert ours - theirs == bottleneck * ((128 + 3) // 4 * 2 + 3)


def test_more_memory_makes_larger_plans(fingerprinted):
    fingerprinted({"liver": LIVER})
    small, large = (UniSegPlanner(NAME, gpu_memory_target_in_gb=gb).plan_experiment() for gb in (4, 8))
    voxels = [
        configuration(plans)["batch_size"] * np.prod(configuration(plans)["patch_size"]) for plans in (small, large)
    ]
    assert 1.3 < voxels[1] / voxels[0] < 3
