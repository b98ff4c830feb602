"""Planners that count DoDNet's dynamic head, so that patch and batch fit the same GPU budget."""

from __future__ import annotations

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
)

from nnunet_ext.base.planner import ExtPlanner
from nnunet_ext.collection.planning.dodnet_memory import DoDNetMemory


class DoDNetPlanner(DoDNetMemory, ExtPlanner, ExperimentPlanner):
    """Plans of a collection whose patch and batch let DoDNet train in 8 GB."""

    default_plans_name = "DoDNetPlans"


class DoDNetResEncMPlanner(DoDNetMemory, ExtPlanner, nnUNetPlannerResEncM):
    """ResEnc M plans of a collection whose patch and batch let DoDNet train in ResEnc M's budget (9 to 11 GB)."""

    default_plans_name = "DoDNetResEncMPlans"


class DoDNetResEncLPlanner(DoDNetMemory, ExtPlanner, nnUNetPlannerResEncL):
    """ResEnc L plans of a collection whose patch and batch let DoDNet train in ResEnc L's budget (24 GB)."""

    default_plans_name = "DoDNetResEncLPlans"
