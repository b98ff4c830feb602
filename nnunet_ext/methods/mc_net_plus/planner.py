"""Planners that count MC-Net+'s further decoders and unlabelled samples, so that patch and batch fit the GPU budget."""

from __future__ import annotations

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
)

from nnunet_ext.base.planner import ExtPlanner
from nnunet_ext.methods.mc_net_plus.architecture import MCNetPlus
from nnunet_ext.semi_supervised.planner import SemiSupervisedMemory


class MCNetPlusPlanner(SemiSupervisedMemory, ExtPlanner, ExperimentPlanner):
    """Stock plans whose patch and batch let MC-Net+ train in 8 GB, unlabelled samples included."""

    default_plans_name = "MCNetPlusPlans"
    network = MCNetPlus


class MCNetPlusResEncMPlanner(SemiSupervisedMemory, ExtPlanner, nnUNetPlannerResEncM):
    """ResEnc M plans whose patch and batch let MC-Net+ train in ResEnc M's budget (9 to 11 GB)."""

    default_plans_name = "MCNetPlusResEncMPlans"
    network = MCNetPlus


class MCNetPlusResEncLPlanner(SemiSupervisedMemory, ExtPlanner, nnUNetPlannerResEncL):
    """ResEnc L plans whose patch and batch let MC-Net+ train in ResEnc L's budget (24 GB)."""

    default_plans_name = "MCNetPlusResEncLPlans"
    network = MCNetPlus
