"""Planners that count VerSemi's mixed samples, so that patch and batch fit the same GPU budget."""

from __future__ import annotations

from typing import Any

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
)

from nnunet_ext.base.planner import ExtPlanner
from nnunet_ext.collection.planning.dodnet_memory import DoDNetMemory

SAMPLES_PER_LABELLED = 2.5  # itself, half a pair of labelled ones, an unlabelled one


class _VerSemiMemory(DoDNetMemory):
    """Memory of a labelled sample and the mixed ones beside it."""

    def static_estimate_VRAM_usage(self, *plan: Any) -> np.int64:  # noqa: N802
        """Return the feature-map elements of one labelled sample and its share of the mixed ones."""
        return np.int64(SAMPLES_PER_LABELLED * super().static_estimate_VRAM_usage(*plan))


class VerSemiPlanner(_VerSemiMemory, ExtPlanner, ExperimentPlanner):
    """Plans of a collection whose patch and batch let VerSemi train in 8 GB."""

    default_plans_name = "VerSemiPlans"


class VerSemiResEncMPlanner(_VerSemiMemory, ExtPlanner, nnUNetPlannerResEncM):
    """ResEnc M plans of a collection whose patch and batch let VerSemi train in ResEnc M's budget (9 to 11 GB)."""

    default_plans_name = "VerSemiResEncMPlans"


class VerSemiResEncLPlanner(_VerSemiMemory, ExtPlanner, nnUNetPlannerResEncL):
    """ResEnc L plans of a collection whose patch and batch let VerSemi train in ResEnc L's budget (24 GB)."""

    default_plans_name = "VerSemiResEncLPlans"
