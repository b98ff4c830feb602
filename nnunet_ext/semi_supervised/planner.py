"""Planners that count unlabelled samples, so that patch and batch fit the same GPU budget."""

from __future__ import annotations

from typing import Any

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
)

from nnunet_ext.base.planner import ExtPlanner

UNLABELLED_PER_LABELLED = 1  # in a batch, with the knob unlabelled.batch_size at its default


class SemiSupervisedMemory:
    """Mix-in for planners, left of :class:`ExtPlanner`: memory of the unlabelled samples beside a labelled one.

    Patch and batch size then are such that a whole batch, labelled and unlabelled, fits the budget.
    """

    @classmethod
    def static_estimate_VRAM_usage(cls, *plan: Any, **options: Any) -> np.int64:  # noqa: N802
        """Return what one labelled sample and the unlabelled ones beside it take, in nnU-Net's unit."""
        of_one: np.int64 = super().static_estimate_VRAM_usage(*plan, **options)  # type: ignore[misc]
        return of_one * (1 + UNLABELLED_PER_LABELLED)


class SemiSupervisedPlanner(SemiSupervisedMemory, ExtPlanner, ExperimentPlanner):
    """Stock plans whose patch and batch let Mean Teacher or pseudo-labels train in 8 GB, unlabelled samples too."""

    default_plans_name = "SemiSupervisedPlans"


class SemiSupervisedResEncMPlanner(SemiSupervisedMemory, ExtPlanner, nnUNetPlannerResEncM):
    """ResEnc M plans, unlabelled samples included in ResEnc M's budget (9 to 11 GB)."""

    default_plans_name = "SemiSupervisedResEncMPlans"


class SemiSupervisedResEncLPlanner(SemiSupervisedMemory, ExtPlanner, nnUNetPlannerResEncL):
    """ResEnc L plans, unlabelled samples included in ResEnc L's budget (24 GB)."""

    default_plans_name = "SemiSupervisedResEncLPlans"
