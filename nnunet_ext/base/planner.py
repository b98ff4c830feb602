"""What our planners add to nnU-Net's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn


class ExtPlanner:
    """Mix-in for planners, left of a stock one: its own plans name, and memory counted with the method's network.

    The plans still name the stock network, so that any trainer can use them; only patch and batch size change.
    """

    default_plans_name: ClassVar[str]
    plans_identifier: str

    def __init__(self, dataset_name_or_id: str | int, *, plans_name: str | None = None, **options: Any) -> None:
        super().__init__(dataset_name_or_id, plans_name=plans_name or self.default_plans_name, **options)  # type: ignore[call-arg]

    @staticmethod
    def network(unet: nn.Module) -> nn.Module:
        """Return the network that is trained instead of the plans' network, for its feature-map size."""
        return unet

    @classmethod
    def static_estimate_VRAM_usage(  # noqa: N802
        cls,
        patch_size: tuple[int, ...],
        input_channels: int,
        output_channels: int,
        arch_class_name: str,
        arch_kwargs: dict,
        arch_kwargs_req_import: tuple[str, ...],
    ) -> np.int64:
        """Return the convolution feature-map elements of one sample, as nnU-Net counts them."""
        architecture = (arch_class_name, arch_kwargs, arch_kwargs_req_import)
        return feature_map_size(cls.network, patch_size, input_channels, output_channels, *architecture)

    def generate_data_identifier(self, configuration_name: str) -> str:
        """Never share a data folder: stock ResEnc planners do, and preprocessing deletes the folder first."""
        return f"{self.plans_identifier}_{configuration_name}"


def feature_map_size(
    network: Callable[[nn.Module], nn.Module],
    patch_size: Sequence[int],
    input_channels: int,
    output_channels: int,
    arch_class_name: str,
    arch_kwargs: dict,
    arch_kwargs_req_import: Sequence[str],
) -> np.int64:
    """Return the convolution feature-map elements of one sample in the network built from the plans' network."""
    with torch.device("meta"):  # only shapes count
        unet = get_network_from_plans(
            arch_class_name, arch_kwargs, arch_kwargs_req_import, input_channels, output_channels, allow_init=False
        )
        return network(unet).compute_conv_feature_map_size(patch_size)  # type: ignore[operator]
