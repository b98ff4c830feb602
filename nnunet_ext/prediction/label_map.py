"""From the logits of a preprocessed image to labels for the image itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nnunet_ext.prediction.trained_model import TrainedModel
from nnunet_ext.resampling.label_export import LabelExport


def label_map(
    slabs: Iterable[Tensor], shape: Sequence[int], model: TrainedModel, properties: Mapping[str, Any]
) -> NDArray[np.integer[Any]]:
    """Return the label map that nnU-Net exports.

    Args:
        slabs: Logits (heads, d, H, W) in slabs along the first axis; each is used before the next is asked for.
        shape: D, H, W of the preprocessed image, the sum of all slabs.
        model: The model that they come from.
        properties: What nnU-Net's preprocessing noted of the image: spacing (mm), shape and box of the crop.

    Returns:
        Labels (D, H, W) in the axis order of the image as it was read; uint8, or uint16 from 255 foreground labels on.
    """
    whole = ImageLabels(shape, model, properties)
    for slab in slabs:
        whole.add(slab)
    return whole.finish()


class ImageLabels:
    """The label map that nnU-Net exports; several can be made of one stream of slabs.

    Args:
        shape: D, H, W of the preprocessed image, the sum of all slabs.
        model: The model that the logits come from.
        properties: What nnU-Net's preprocessing noted of the image: spacing (mm), shape and box of the crop.
    """

    def __init__(self, shape: Sequence[int], model: TrainedModel, properties: Mapping[str, Any]) -> None:
        labels, plans = model.label_manager, model.plans_manager
        dtype = np.uint8 if len(labels.foreground_labels) < 255 else np.uint16
        self._whole: NDArray[np.integer[Any]] = np.zeros(properties["shape_before_cropping"], dtype)
        self._backward = plans.transpose_backward
        crop = self._whole[tuple(slice(*ends) for ends in properties["bbox_used_for_cropping"])]
        resampling = model.export_resampling(properties["spacing"])
        self._export = LabelExport(
            tuple(shape),
            crop,
            order=resampling.order,
            separate_axis=resampling.separate_axis,
            order_z=resampling.order_z,
            region_labels=labels.regions_class_order if labels.has_regions else None,
        )

    def add(self, slab: Tensor) -> None:
        """Take the next logits (heads, d, H, W); they may be overwritten after the call."""
        self._export.add(slab)

    def finish(self) -> NDArray[np.integer[Any]]:
        """Return the labels (D, H, W) in the axis order of the image as it was read; uint8 or, if needed, uint16.

        Raises:
            ValueError: Slices are missing.
        """
        self._export.finish()
        return self._whole.transpose(self._backward)
