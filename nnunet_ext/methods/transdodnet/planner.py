"""Planners that count TransDoDNet's transformer and heads, so that patch and batch fit the same GPU budget."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
)

from nnunet_ext.base.knobs import recommend
from nnunet_ext.base.planner import ExtPlanner, feature_map_size
from nnunet_ext.collection.planning.planner import CollectionPlanner
from nnunet_ext.methods.transdodnet.architecture import TransDoDNet
from nnunet_ext.methods.transdodnet.card import CARD


class _TransDoDNetMemory(CollectionPlanner):
    """Memory of a network for all tasks of the collection, with the knobs' defaults; the authors' recipe as knobs."""

    def save_plans(self, plans: dict[str, Any]) -> None:
        """Write plans that carry the authors' optimizer and learning rate."""
        recommend(plans, CARD.recipe)
        super().save_plans(plans)

    def static_estimate_VRAM_usage(self, patch_size: tuple[int, ...], *plan: Any) -> np.int64:  # noqa: N802
        """Return the feature-map elements of one sample: convolutions, the transformer's tokens and the head."""
        assert self.table is not None
        options: dict[str, Any] = {"heads": self.table.heads, "channels": self.table.channel_numbers}
        return feature_map_size(partial(TransDoDNet, **options), patch_size, *plan)


class TransDoDNetPlanner(_TransDoDNetMemory, ExtPlanner, ExperimentPlanner):
    """Plans of a collection whose patch and batch let TransDoDNet train in 8 GB."""

    default_plans_name = "TransDoDNetPlans"


class TransDoDNetResEncMPlanner(_TransDoDNetMemory, ExtPlanner, nnUNetPlannerResEncM):
    """ResEnc M plans of a collection with a patch and batch for TransDoDNet in ResEnc M's budget (9 to 11 GB)."""

    default_plans_name = "TransDoDNetResEncMPlans"


class TransDoDNetResEncLPlanner(_TransDoDNetMemory, ExtPlanner, nnUNetPlannerResEncL):
    """ResEnc L plans of a collection with a patch and batch for TransDoDNet in ResEnc L's budget (24 GB)."""

    default_plans_name = "TransDoDNetResEncLPlans"
