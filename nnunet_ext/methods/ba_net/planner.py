"""Planners that count BA-Net's second decoder, so that patch and batch fit the same GPU budget."""

from __future__ import annotations

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
)

from nnunet_ext.base.planner import ExtPlanner
from nnunet_ext.methods.ba_net.architecture import BANet


class BANetPlanner(ExtPlanner, ExperimentPlanner):
    """Stock plans whose patch and batch let BA-Net train in 8 GB."""

    default_plans_name = "BANetPlans"
    network = BANet


class BANetResEncMPlanner(ExtPlanner, nnUNetPlannerResEncM):
    """ResEnc M plans whose patch and batch let BA-Net train in ResEnc M's budget (9 to 11 GB)."""

    default_plans_name = "BANetResEncMPlans"
    network = BANet


class BANetResEncLPlanner(ExtPlanner, nnUNetPlannerResEncL):
    """ResEnc L plans whose patch and batch let BA-Net train in ResEnc L's budget (24 GB)."""

    default_plans_name = "BANetResEncLPlans"
    network = BANet
