"""CPU-sized plans."""

from __future__ import annotations

from typing import Any

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

from nnunet_ext.base.planner import ExtPlanner
from nnunet_ext.collection.planning.planner import CollectionPlanner

MAX_VOXELS = 90_000
BATCH_SIZE = 2


class LitePlanner(ExtPlanner, ExperimentPlanner):
    """Plans of the stock network for machines without a GPU.

    8 base features, one convolution per stage, batch 2, at most 90,000 voxels in a patch (pixels in 2d). Spacing,
    normalization and resampling stay stock. Every trainer takes these plans like any other. A training step takes
    about 0.1 s on two cores.

    ``gpu_memory_target_in_gb`` is accepted but has no effect: the size is fixed by the voxels.
    """

    default_plans_name = "LitePlans"
    UNet_blocks_per_stage_encoder: tuple[int, ...]
    UNet_blocks_per_stage_decoder: tuple[int, ...]

    def __init__(self, dataset_name_or_id: str | int, **options: Any) -> None:
        super().__init__(dataset_name_or_id, **options)
        self.UNet_base_num_features = 8
        self.UNet_blocks_per_stage_encoder = (1,) * len(self.UNet_blocks_per_stage_encoder)
        self.UNet_blocks_per_stage_decoder = (1,) * len(self.UNet_blocks_per_stage_decoder)
        # the stock loop shrinks the patch while the estimate exceeds these; our estimate counts voxels
        self.UNet_reference_val_2d = self.UNet_reference_val_3d = MAX_VOXELS
        self.UNet_reference_val_corresp_bs_2d = self.UNet_reference_val_corresp_bs_3d = BATCH_SIZE
        self.UNet_vram_target_GB = self.UNet_reference_val_corresp_GB

    @classmethod
    def static_estimate_VRAM_usage(cls, patch_size: tuple[int, ...], *_: Any, **__: Any) -> np.int64:  # noqa: N802
        """Return the patch's voxels, the one thing that these plans limit."""
        return np.prod(patch_size, dtype=np.int64)

    def get_plans_for_configuration(self, *args: Any, **kwargs: Any) -> dict:
        """Stock plan with the fixed batch size."""
        return super().get_plans_for_configuration(*args, **kwargs) | {"batch_size": BATCH_SIZE}


class CollectionLitePlanner(CollectionPlanner, LitePlanner):
    """Plans of the stock network for collections on machines without a GPU, as small as ``LitePlanner``'s."""

    default_plans_name = "CollectionLitePlans"
