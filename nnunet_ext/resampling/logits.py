"""The label map of whole arrays of logits, at the image's size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_ext.resampling.arguments import readable
from nnunet_ext.resampling.label_export import LabelExport


def labels_of_logits(
    logits: Tensor | NDArray[np.floating],
    shape: Sequence[int],
    *,
    order: int = 1,
    separate_axis: int | None = None,
    order_z: int = 0,
    region_labels: Sequence[int] | None = None,
    slab: int = 16,
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the label map that nnU-Net's export makes of logits, before it puts the crop back into the image.

    Args:
        logits: (heads, D, H, W), on the network's grid.
        shape: (D', H', W') of the label map, with the axes in the order of the logits.
        order: As for :class:`~nnunet_ext.resampling.label_export.LabelExport`, like the next three.
        separate_axis: The axis of thick slices, if nnU-Net resamples it on its own.
        order_z: Of the interpolation along ``separate_axis``.
        region_labels: The label of each region in the order of the heads, if these are regions.
        slab: Slices that are exported at once; arrays that cannot be read in place are copied slab by slab.

    Returns:
        Labels (D', H', W'): uint8 if all possible labels are below 255, otherwise uint16.

    Raises:
        ValueError: Orders other than 0 and 1, or logits that are not floating-point numbers (heads, D, H, W).

    Example:
        >>> labels_of_logits(np.array([1.0, 0.0, 0.0, 3.0]).reshape(2, 1, 1, 2), (1, 1, 4)).tolist()
        [[[0, 0, 1, 1]]]
    """
    if logits.ndim != 4:
        raise ValueError(f"expected logits (heads, D, H, W), found {tuple(logits.shape)}")
    highest = len(logits) - 1 if region_labels is None else max(region_labels)
    labels = np.zeros(tuple(shape), dtype=np.uint8 if highest < 255 else np.uint16)
    export = LabelExport(
        logits.shape[1:],
        labels,
        order=order,
        separate_axis=separate_axis,
        order_z=order_z,
        region_labels=region_labels,
    )
    for first in range(0, logits.shape[1], slab):
        part = logits[:, first : first + slab]
        export.add(part if isinstance(part, Tensor) else torch.from_numpy(readable(part)))
    export.finish()
    return labels
