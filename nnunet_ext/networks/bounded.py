"""Logits that nnU-Net's half-precision accumulation can hold."""

from __future__ import annotations

import torch
from torch import Tensor

FREE = 60.0  # up to here nothing changes: sigmoid and softmax are saturated long before
LIMIT = 110.0


def bounded(logits: Tensor) -> Tensor:
    """Return logits whose magnitude stays below 110; those up to 60 are what they were.

    Beyond 60 they bend: 60 + 50 tanh((|x| - 60) / 50), with a continuous slope, strictly increasing.

    Why 110: nnU-Net adds windows in float16, which ends at 65504, each times a Gaussian that peaks at 10. The weights
    of a voxel add up to at most 80 at its step of half a patch, to 530 at a step of a tenth: 58,300. Sums over folds
    and mirrorings are smaller.
    """
    room = LIMIT - FREE
    free = logits.clamp(-FREE, FREE)
    return free + room * torch.tanh((logits - free) / room)
