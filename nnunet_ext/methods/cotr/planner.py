"""Planners that count CoTr's transformer, so that patch and batch fit the same GPU budget."""

from __future__ import annotations

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
)

from nnunet_ext.base.planner import ExtPlanner
from nnunet_ext.methods.cotr.architecture import CoTr


class CoTrPlanner(ExtPlanner, ExperimentPlanner):
    """Stock plans whose patch and batch let CoTr with its default knobs train in 8 GB."""

    default_plans_name = "CoTrPlans"
    network = CoTr


class CoTrResEncMPlanner(ExtPlanner, nnUNetPlannerResEncM):
    """ResEnc M plans whose patch and batch let CoTr train in ResEnc M's budget (9 to 11 GB)."""

    default_plans_name = "CoTrResEncMPlans"
    network = CoTr


class CoTrResEncLPlanner(ExtPlanner, nnUNetPlannerResEncL):
    """ResEnc L plans whose patch and batch let CoTr train in ResEnc L's budget (24 GB)."""

    default_plans_name = "CoTrResEncLPlans"
    network = CoTr
