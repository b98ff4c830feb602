"""Patches of which a part is hidden: what the network sees, and how wrong it is about the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Output = Tensor | list[Tensor]


@dataclass(frozen=True)
class HiddenPatch:
    """Patches, and which of their voxels are hidden.

    Args:
        images: (B, C, D, H, W), or (B, C, H, W) in 2d.
        hidden: (B, 1 or C, D, H, W); True where a voxel is hidden.
        inside: (B, 1, D, H, W); False where there is no image, whose voxels do not count.
    """

    images: Tensor
    hidden: Tensor
    inside: Tensor

    def to(self, device: torch.device, *, non_blocking: bool = False) -> HiddenPatch:
        """Move it to a device, as nnU-Net's steps do with their target."""
        parts = (part.to(device, non_blocking=non_blocking) for part in (self.images, self.hidden, self.inside))
        return HiddenPatch(*parts)

    @property
    def counted(self) -> Tensor:
        """What a network is to restore: hidden voxels inside the image, (B, C, D, H, W)."""
        return (self.hidden & self.inside).expand_as(self.images)

    @property
    def seen(self) -> Tensor:
        """Visible voxels inside the image, (B, C, D, H, W)."""
        return (~self.hidden & self.inside).expand_as(self.images)

    def input(self, is_zero: Sequence[bool]) -> Tensor:
        """Return what the network sees: the images with a constant in place of hidden voxels.

        Args:
            is_zero: For each channel, whether the constant is 0, the mean of an image after z-scores; else it is the
                mean of the voxels that are seen, of each patch.
        """
        seen = self.seen
        axes = tuple(range(2, self.images.ndim))
        count = seen.sum(axes, keepdim=True)
        mean = self.images.where(seen, 0).sum(axes, keepdim=True) / count.clamp(min=1)
        shape = (1, len(is_zero), *[1] * len(axes))
        zero = torch.tensor(list(is_zero), device=self.images.device).reshape(shape)
        return torch.where(self.hidden, mean.where(~zero, 0), self.images)

    def squared_error(self, restored: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of squared errors over voxels that count, and the number of these, of each sample (B,).

        Args:
            restored: (B, C, D, H, W).
        """
        counted, axes = self.counted, tuple(range(1, self.images.ndim))
        error = (restored - self.images).square().where(counted, 0)
        return error.sum(axes), counted.sum(axes)


def masked_error(output: Output, patch: HiddenPatch) -> Tensor:
    """Return the mean squared error over the hidden voxels inside the image, of all channels: the training loss.

    It is the mean over samples, so that it does not depend on how GPUs share a batch. A sample with nothing to restore
    counts 0. With deep supervision the full resolution counts; all outputs get a gradient, the others of 0.

    Args:
        output: (B, C, D, H, W), or their list over scales.
        patch: The images, and what is hidden of them.

    Example:
        >>> import torch
        >>> from nnunet_ext.semi_supervised.masked.hidden_patch import HiddenPatch, masked_error
        >>> images, hidden = torch.tensor([[[1.0, 2, 3, 4]]]), torch.tensor([[[False, False, True, True]]])
        >>> masked_error(torch.zeros(1, 1, 4), HiddenPatch(images, hidden, torch.ones_like(hidden)))
        tensor(12.5000)
    """
    scales = output if isinstance(output, list) else [output]
    error, number = patch.squared_error(scales[0])
    touched = sum(0 * scale.float().sum() for scale in scales)
    return (error / number.clamp(min=1)).mean() + touched
