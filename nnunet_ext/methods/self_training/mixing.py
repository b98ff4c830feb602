"""Labelled and pseudo-labelled patches pasted into each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunet_ext.semi_supervised.losses import target_at
from nnunet_ext.semi_supervised.random_box import random_box


def mixing_box(
    shape: Sequence[int], mixing_share: float, edges: Sequence[float], generator: np.random.Generator
) -> Tensor | None:
    """Return the box of a step, (1, 1, D, H, W) or (1, 1, H, W), true inside; None if the step does not mix.

    Args:
        shape: Of the patch.
        mixing_share: Probability that a step mixes.
        edges: Between which shares of the patch each edge of the box is drawn.
        generator: Draws everything.
    """
    if mixing_share == 0 or generator.random() >= mixing_share:
        return None
    return random_box(shape, generator.uniform(edges[0], edges[1], len(shape)).tolist(), generator)


def exchange(one: Any, other: Any, box: Tensor) -> tuple[Any, Any]:
    """Return both with the inside of the box exchanged, sample by sample, on the box's device.

    Args:
        one: Images or labels (B, C, D, H, W) or (B, C, H, W), or their list over scales.
        other: Of other samples, (B', C, ...), or their list; samples without a partner stay as they are.
        box: At full resolution, (1, 1, ...), true inside; at other scales it takes the nearest voxels.

    Example:
        >>> import torch
        >>> from nnunet_ext.methods.self_training.mixing import exchange
        >>> box = torch.tensor([[[[False, True, True, False]]]])
        >>> [each.flatten().tolist() for each in exchange(torch.zeros(1, 1, 1, 4), torch.ones(1, 1, 1, 4), box)]
        [[0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]]
    """
    if isinstance(one, list):
        pairs = [exchange(*scales, box) for scales in zip(one, other, strict=True)]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    one, other = (each.to(box.device, non_blocking=True) for each in (one, other))
    number, inside = min(len(one), len(other)), target_at(box, one.shape[2:])
    first = torch.where(inside, other[:number], one[:number])
    second = torch.where(inside, one[:number], other[:number])
    return torch.cat((first, one[number:])), torch.cat((second, other[number:]))
