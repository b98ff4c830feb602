"""DoDNet's plans: the network for all tasks, dynamic head included, fits the budget of the stock planner."""

from __future__ import annotations

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from small_unet import planned_unet

from nnunet_ext.methods.dodnet.planner import DoDNetPlanner

NAME = "Dataset900_Planned"
LARGE = {"cases": 40, "spacing": (3.0, 0.8, 0.8), "shape": (80, 280, 280)}
LIVER = LARGE | {"labels": {"background": 0, "liver": 1, "tumour": 2}}
BRAIN = LARGE | {"channels": ("T1", "T2", "T1c", "FLAIR")}


def test_the_estimate_counts_the_dynamic_head(fingerprinted):
    fingerprinted({"liver": LIVER, "brain": BRAIN})
    architecture = planned_unet([[1, 1, 1], [1, 2, 2], [2, 2, 2]], features=[32, 64, 128], convolutions=2)
    ours, theirs = (
        planner.static_estimate_VRAM_usage((16, 32, 64), 4, 3, *architecture.values())
        for planner in (DoDNetPlanner(NAME), ExperimentPlanner("Dataset001_liver"))
    )
    voxels = 16 * 32 * 64
    assert ours - theirs == voxels * (
        (8 - 3) + 3 * 8 + 2 * 3
    )  # 8 features, not 3 classes; logits also as they are bounded
