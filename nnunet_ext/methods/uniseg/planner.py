"""Planners that count UniSeg's prompts, so that patch and batch fit the same GPU budget."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
)

from nnunet_ext.base.planner import ExtPlanner, feature_map_size
from nnunet_ext.collection.planning.planner import CollectionPlanner
from nnunet_ext.methods.uniseg.architecture import UniSeg


class _UniSegMemory(CollectionPlanner):
    """Memory of a network for all tasks of the collection."""

    def static_estimate_VRAM_usage(self, patch_size: tuple[int, ...], *plan: Any) -> np.int64:  # noqa: N802
        """Return the convolution feature-map elements of one sample; FUSE grows with the number of tasks."""
        assert self.table is not None
        options: dict[str, Any] = {"heads": self.table.heads, "channels": self.table.channel_numbers}
        return feature_map_size(partial(UniSeg, patch_size=patch_size, **options), patch_size, *plan)


class UniSegPlanner(_UniSegMemory, ExtPlanner, ExperimentPlanner):
    """Plans of a collection whose patch and batch let UniSeg train in 8 GB."""

    default_plans_name = "UniSegPlans"


class UniSegResEncMPlanner(_UniSegMemory, ExtPlanner, nnUNetPlannerResEncM):
    """ResEnc M plans of a collection whose patch and batch let UniSeg train in ResEnc M's budget (9 to 11 GB)."""

    default_plans_name = "UniSegResEncMPlans"


class UniSegResEncLPlanner(_UniSegMemory, ExtPlanner, nnUNetPlannerResEncL):
    """ResEnc L plans of a collection whose patch and batch let UniSeg train in ResEnc L's budget (24 GB)."""

    default_plans_name = "UniSegResEncLPlans"
