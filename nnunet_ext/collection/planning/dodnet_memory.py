"""What planners count of DoDNet's network."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from nnunet_ext.base.planner import feature_map_size
from nnunet_ext.collection.network.dodnet import DoDNet
from nnunet_ext.collection.planning.planner import CollectionPlanner
from nnunet_ext.networks.dynamic_head import WIDTH


class DoDNetMemory(CollectionPlanner):
    """Memory of a network for all tasks of the collection, with a head of the default size."""

    def static_estimate_VRAM_usage(  # noqa: N802
        self, patch_size: tuple[int, ...], input_channels: int, output_channels: int, *architecture: Any
    ) -> np.int64:
        """Return the feature-map elements of one sample; the U-Net ends in the head's features, not in classes."""
        assert self.table is not None
        network = partial(DoDNet, heads=self.table.heads, channels=self.table.channel_numbers)
        return feature_map_size(network, patch_size, input_channels, WIDTH, *architecture)
