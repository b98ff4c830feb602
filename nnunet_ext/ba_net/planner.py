"""Planners that count BA-Net's second decoder, so that patch and batch fit the same GPU budget."""

from __future__ import annotations

import numpy as np
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
)
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunet_ext.ba_net.architecture import BANet


class _CountsBANet:
    """Mix-in: estimates memory with BA-Net instead of the network that the plans name, and keeps its data to itself."""

    plans_identifier: str

    @staticmethod
    def static_estimate_VRAM_usage(  # noqa: N802
        patch_size: tuple[int, ...],
        input_channels: int,
        output_channels: int,
        arch_class_name: str,
        arch_kwargs: dict,
        arch_kwargs_req_import: tuple[str, ...],
    ) -> np.int64:
        """Return the convolution feature-map elements of one sample."""
        with torch.device("meta"):  # only shapes count
            unet = get_network_from_plans(
                arch_class_name, arch_kwargs, arch_kwargs_req_import, input_channels, output_channels, allow_init=False
            )
            return BANet(unet).compute_conv_feature_map_size(patch_size)

    def generate_data_identifier(self, configuration_name: str) -> str:
        """Never share a data folder: stock ResEnc planners do, and preprocessing deletes the folder first."""
        return f"{self.plans_identifier}_{configuration_name}"


class BANetPlanner(_CountsBANet, ExperimentPlanner):
    """Stock plans with a patch and batch that BA-Net trains in 8 GB."""

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 8,
        preprocessor_name: str = "DefaultPreprocessor",
        plans_name: str = "BANetPlans",
        overwrite_target_spacing: list[float] | tuple[float, ...] | None = None,
        suppress_transpose: bool = False,
    ) -> None:
        super().__init__(
            dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name, overwrite_target_spacing,
            suppress_transpose,
        )


class BANetResEncMPlanner(_CountsBANet, nnUNetPlannerResEncM):
    """ResEnc M plans with a patch and batch that BA-Net trains in ResEnc M's budget (9 to 11 GB)."""

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 8,
        preprocessor_name: str = "DefaultPreprocessor",
        plans_name: str = "BANetResEncMPlans",
        overwrite_target_spacing: list[float] | tuple[float, ...] | None = None,
        suppress_transpose: bool = False,
    ) -> None:
        super().__init__(
            dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name, overwrite_target_spacing,
            suppress_transpose,
        )


class BANetResEncLPlanner(_CountsBANet, nnUNetPlannerResEncL):
    """ResEnc L plans with a patch and batch that BA-Net trains in ResEnc L's budget (24 GB)."""

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 24,
        preprocessor_name: str = "DefaultPreprocessor",
        plans_name: str = "BANetResEncLPlans",
        overwrite_target_spacing: list[float] | tuple[float, ...] | None = None,
        suppress_transpose: bool = False,
    ) -> None:
        super().__init__(
            dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name, overwrite_target_spacing,
            suppress_transpose,
        )
