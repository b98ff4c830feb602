"""Labels whose background is filled with what another network predicts there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

Target = Tensor | list[Tensor]


def filled_labels(labels: Tensor, logits: Tensor, places: Sequence[int | None], unannotated: Tensor) -> Tensor:
    """Return labels in which background is an unannotated class where that is the network's argmax.

    What an annotator drew stays, the ignore label too; so does background where the argmax is background, a class that
    was annotated, or one that the labels do not have.

    Args:
        labels: (B, 1, D, H, W) or (B, 1, H, W); background is 0.
        logits: Of the network, (B, O, D, H, W) or (B, O, H, W).
        places: For each of the O outputs the label of its class; 0 of background, None of a class that has none.
        unannotated: (B, K): whether label k was not annotated in a sample.

    Example:
        >>> import torch
        >>> from nnunet_ext.strategies.filled_background import filled_labels
        >>> labels, unannotated = torch.tensor([[[[0, 2, 0]]]]), torch.tensor([[False, True, False]])
        >>> logits = torch.tensor([[[[0.0, 0, 9]], [[1.0, 1, 1]]]])  # background and the class of label 1
        >>> filled_labels(labels, logits, [0, 1], unannotated).flatten().tolist()
        [1, 2, 0]
    """
    table = torch.tensor([place or 0 for place in places], device=labels.device)
    predicted = table[logits.argmax(1, keepdim=True)]
    fill = unannotated.gather(1, predicted.flatten(1)).view_as(predicted) & (labels == 0)
    return torch.where(fill, predicted.to(labels.dtype), labels)


def filled_regions(regions: Tensor, logits: Tensor, places: Sequence[int | None], unannotated: Tensor) -> Tensor:
    """Return regions in which an unannotated one is also where its sigmoid exceeds 0.5; other channels stay.

    Args:
        regions: (B, R, ...), or (B, R + 1, ...) with a last channel for ignored voxels; bool or numbers.
        logits: Of the network, (B, O, ...).
        places: For each of the O outputs the channel of its region, or None.
        unannotated: (B, R): whether a region was not annotated in a sample.
    """
    filled = regions.clone()
    for output, place in enumerate(places):
        if place is not None:
            inside = torch.sigmoid(logits[:, output]) > 0.5
            inside[~unannotated[:, place]] = False
            filled[:, place][inside] = 1
    return filled


def at_scales(full: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return a target at the scales of deep supervision, as nnU-Net's ``DownsampleSegForDSTransform`` makes them.

    Args:
        full: (B, C, D, H, W) or (B, C, H, W), at full resolution.
        like: Targets of the wanted shapes, full resolution first.
    """
    shapes = [tuple(scale.shape[2:]) for scale in like]
    own = tuple(full.shape[2:])
    return [
        full if shape == own else interpolate(full.float(), shape, mode="nearest-exact").to(full.dtype)
        for shape in shapes
    ]
