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
    """Stock plans with a patch and batch that CoTr, as its knobs are by default, trains in 8 GB."""

    default_plans_name = "CoTrPlans"
    network = CoTr


class CoTrResEncMPlanner(ExtPlanner, nnUNetPlannerResEncM):
    """ResEnc M plans with a patch and batch that CoTr trains in ResEnc M's budget (9 to 11 GB)."""

    default_plans_name = "CoTrResEncMPlans"
    network = CoTr


class CoTrResEncLPlanner(ExtPlanner, nnUNetPlannerResEncL):
    """ResEnc L plans with a patch and batch that CoTr trains in ResEnc L's budget (24 GB)."""

    default_plans_name = "CoTrResEncLPlans"
    network = CoTr
