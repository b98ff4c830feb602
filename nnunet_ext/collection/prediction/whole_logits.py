"""The label map of a task that nnU-Net's own export has to make, which needs the logits of the whole image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from numpy.typing import NDArray
from torch import Tensor

from nnunet_ext.collection.prediction.viewed_task import ViewedTask


class WholeLogits:
    """Collects slabs, and exports as nnU-Net does for a task, with the resampler of the task's plans.

    Args:
        shape: D, H, W of the preprocessed image, the sum of all slabs.
        task: The task.
        properties: What nnU-Net's preprocessing noted of the image.
    """

    def __init__(self, shape: Sequence[int], task: ViewedTask, properties: Mapping[str, Any]) -> None:
        self._logits = torch.empty((task.task.heads, *shape), dtype=torch.half)
        self._arrived = 0
        self._task = task
        self._properties = properties

    def add(self, slab: Tensor) -> None:
        """Take the next logits (heads, d, H, W); they may be overwritten after the call."""
        end = self._arrived + slab.shape[1]
        self._logits[:, self._arrived : end] = slab
        self._arrived = end

    def finish(self) -> NDArray[Any]:
        """Return the labels (D, H, W) in the axis order of the image as it was read.

        Raises:
            ValueError: Slices are missing.
        """
        if self._arrived != self._logits.shape[1]:
            raise ValueError(f"expected {self._logits.shape[1]} slices of logits, found {self._arrived}")
        plans = self._task.plans_manager
        labels: NDArray[Any] = convert_predicted_logits_to_segmentation_with_correct_shape(
            self._logits,
            plans,
            self._task.configuration_manager,
            plans.get_label_manager(dict(self._task.dataset_json)),
            dict(self._properties),
        )
        return labels
