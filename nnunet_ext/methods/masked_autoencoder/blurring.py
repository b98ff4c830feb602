"""The control: what hidden voxels are guessed to be by blurring the visible ones, without any learning."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv1d

from nnunet_ext.semi_supervised.masked.hidden_patch import HiddenPatch

SHARES = (0.125, 0.25, 0.5, 1.0)  # standard deviations of the Gaussians, in edges of a block
REACH = 4.0  # standard deviations at which a Gaussian is cut off
LEAST = 1e-6  # weight of the voxels that are seen below which a Gaussian knows nothing


def blurred(patch: HiddenPatch, seen: Tensor, block: Sequence[int]) -> list[Tensor]:
    """Return the patches as four normalized Gaussians of the voxels that are seen guess them.

    Each voxel is the mean of those that are seen around it, weighted by a Gaussian.

    Args:
        patch: The images, and what is hidden of them.
        seen: What the network sees, (B, C, D, H, W): the guess where nothing that is seen is near.
        block: Edges of a block in voxels.
    """
    weight = patch.seen.float()
    visible = patch.images.where(patch.seen, 0)
    guesses = []
    for share in SHARES:
        sigma = [share * edge for edge in block]
        near = gaussian(weight, sigma)
        guesses.append(torch.where(near > LEAST, gaussian(visible, sigma) / near.clamp(min=LEAST), seen))
    return guesses


def gaussian(images: Tensor, sigma: Sequence[float]) -> Tensor:
    """Return images convolved with a Gaussian; outside of them there is 0.

    Args:
        images: (B, C, D, H, W), or (B, C, H, W).
        sigma: Standard deviation along each spatial axis, in voxels.
    """
    for axis, width in enumerate(sigma, start=2):
        reach = min(math.ceil(REACH * width), images.shape[axis] - 1)
        at = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
        kernel = torch.exp(-0.5 * (at / width).square())
        lines = images.movedim(axis, -1)
        rows = lines.reshape(-1, 1, lines.shape[-1])
        images = conv1d(rows, (kernel / kernel.sum())[None, None], padding=reach).reshape(lines.shape).movedim(-1, axis)
    return images
