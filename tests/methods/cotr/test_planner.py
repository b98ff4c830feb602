"""CoTr's planners count the transformer."""

from __future__ import annotations

import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
)
from small_unet import planned_unet

from nnunet_ext.methods.cotr.planner import CoTrPlanner, CoTrResEncLPlanner, CoTrResEncMPlanner


def full_width(patch: list[int]) -> tuple:
    """What nnU-Net's planner tells of its usual network: six stages, up to 320 features."""
    strides = [[1, 1, 1]] + [[2, 2, 2]] * 5
    architecture = planned_unet(strides, features=[32, 64, 128, 256, 320, 320], convolutions=2)
    return patch, 1, 3, *architecture.values()


def test_the_estimate_is_stocks_and_the_transformers_and_shrinks_with_the_patch(monkeypatch):
    """By hand, for a patch of 128: 8^3 + 4^3 tokens; each has 384 + 320 in projections and, in each of 6 layers,
    2 levels x 4 points x 384 sampled values, 48 x (3 + 1) for places and weights, 2 x 1536 and 8 x 384."""
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    whole, stock = (p.static_estimate_VRAM_usage(*full_width([128] * 3)) for p in (CoTrPlanner, ExperimentPlanner))
    of_token = 6 * (2 * 4 * 384 + 48 * 4 + 2 * 1536 + 8 * 384) + (384 + 320)
    assert whole - stock == (8**3 + 4**3) * of_token
    assert CoTrPlanner.static_estimate_VRAM_usage(*full_width([64, 128, 128])) == whole / 2


@pytest.mark.parametrize(
    ("planner", "stock", "name"),
    [
        (CoTrPlanner, ExperimentPlanner, "CoTrPlans"),
        (CoTrResEncMPlanner, nnUNetPlannerResEncM, "CoTrResEncMPlans"),
        (CoTrResEncLPlanner, nnUNetPlannerResEncL, "CoTrResEncLPlans"),
    ],
)
def test_each_is_its_stock_planner_under_its_own_name(planner, stock, name):
    assert issubclass(planner, stock)
    assert planner.default_plans_name == name
