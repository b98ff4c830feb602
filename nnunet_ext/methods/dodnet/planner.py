"""Planners that count DoDNet's dynamic head, so that patch and batch fit the same GPU budget."""

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
from nnunet_ext.methods.dodnet.architecture import DoDNet
from nnunet_ext.methods.dodnet.card import WIDTH


class _DoDNetMemory(CollectionPlanner):
    """Memory of a network for all tasks of the collection, with a head of the default size."""

    def static_estimate_VRAM_usage(  # noqa: N802
        self, patch_size: tuple[int, ...], input_channels: int, output_channels: int, *architecture: Any
    ) -> np.int64:
        """Return the feature-map elements of one sample; the U-Net ends in the head's features, not in classes."""
        assert self.table is not None
        network = partial(DoDNet, heads=self.table.heads, channels=self.table.channel_numbers)
        return feature_map_size(network, patch_size, input_channels, WIDTH, *architecture)


class DoDNetPlanner(_DoDNetMemory, ExtPlanner, ExperimentPlanner):
    """Plans of a collection whose patch and batch let DoDNet train in 8 GB."""

    default_plans_name = "DoDNetPlans"


class DoDNetResEncMPlanner(_DoDNetMemory, ExtPlanner, nnUNetPlannerResEncM):
    """ResEnc M plans of a collection whose patch and batch let DoDNet train in ResEnc M's budget (9 to 11 GB)."""

    default_plans_name = "DoDNetResEncMPlans"


class DoDNetResEncLPlanner(_DoDNetMemory, ExtPlanner, nnUNetPlannerResEncL):
    """ResEnc L plans of a collection whose patch and batch let DoDNet train in ResEnc L's budget (24 GB)."""

    default_plans_name = "DoDNetResEncLPlans"
