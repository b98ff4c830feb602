"""Pseudo-labels from a teacher's logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from nnunetv2.postprocessing.remove_connected_components import remove_all_but_largest_component_from_segmentation
from torch import Tensor

from nnunet_ext.semi_supervised.losses import probabilities


def pseudo_labels(logits: Tensor, *, regions: bool, largest_component: bool = False) -> Tensor:
    """Return the most probable label (B, 1, D, H, W), or which regions are more probable than not (B, R, D, H, W).

    Args:
        logits: (B, K, D, H, W) or (B, K, H, W).
        regions: The channels are regions.
        largest_component: Of each label but 0, or each region, keep only the largest component; corners connect.
    """
    if regions:
        found = probabilities(logits, regions=True) > 0.5
        return _largest(found, [1]) if largest_component else found
    labels = logits.argmax(1, keepdim=True)
    return _largest(labels, range(1, logits.shape[1])) if largest_component else labels


def _largest(maps: Tensor, labels: Sequence[int]) -> Tensor:
    cleaned = []
    for each in maps.flatten(0, 1).cpu().numpy():
        for label in labels:
            each = remove_all_but_largest_component_from_segmentation(each, label)
        cleaned.append(torch.from_numpy(each))
    return torch.stack(cleaned).view(maps.shape).to(maps.device)
