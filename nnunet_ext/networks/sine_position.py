"""Sine positions of the voxels of a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

TEMPERATURE = 10000.0


def sine_position(size: Sequence[int], channels: int, *, device: torch.device | str | None = None) -> Tensor:
    """Return sines and cosines of each voxel's coordinates, at frequencies that fall from one pair to the next.

    Coordinates are those of the voxel's centre, 0 to 2 pi along each axis. Each axis has an equal, even number of
    channels: sine, cosine of the first frequency, sine, cosine of the second, and so on; the axes follow one another
    as in ``size``. Channels that cannot be shared out stay 0.

    Args:
        size: Voxels (D, H, W) or (H, W).
        channels: Channels of all axes together.
        device: Where to make them.

    Returns:
        float32 (D * H * W, channels), voxels in row-major order.
    """
    pairs = channels // (2 * len(size))
    frequencies = TEMPERATURE ** (-torch.arange(pairs, device=device, dtype=torch.float32) / max(1, pairs))
    of_axes = []
    for axis, length in enumerate(size):
        coordinates = (torch.arange(length, device=device, dtype=torch.float32) + 0.5) * (2 * math.pi / length)
        angles = coordinates[:, None] * frequencies
        waves = torch.stack((angles.sin(), angles.cos()), -1).flatten(1)
        shape = [length if other == axis else 1 for other in range(len(size))]
        of_axes.append(waves.view(*shape, 2 * pairs).expand(*size, 2 * pairs))
    rest = torch.zeros(*size, channels - 2 * pairs * len(size), device=device)
    return torch.cat((*of_axes, rest), -1).flatten(0, -2)
