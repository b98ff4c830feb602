"""Logits that nnU-Net's half-precision accumulation can hold."""

from __future__ import annotations

import torch
from torch import Tensor

FREE = 100.0  # up to here nothing changes: sigmoid and softmax are saturated long before
LIMIT = 200.0


def bounded(logits: Tensor) -> Tensor:
    """Return logits whose magnitude stays below 200; those up to 100 are what they were.

    Beyond 100 they bend: 100 + 100 tanh((|x| - 100) / 100), with a continuous slope, strictly increasing.

    Why 200: nnU-Net adds windows in float16, which ends at 65504, each times a Gaussian that peaks at 10. At its step
    of half a patch the weights of a voxel add up to at most 80 (two windows on each of three axes nearly at the same
    place), at a step of a tenth to about 320: 64,000 at most. Sums over five folds and eight mirrorings are smaller.
    """
    room = LIMIT - FREE
    free = logits.clamp(-FREE, FREE)
    return free + room * torch.tanh((logits - free) / room)
