"""A supervised loss on annotated samples only."""

from __future__ import annotations

from torch import Tensor, nn


class AnnotatedOnly(nn.Module):
    """Leaves out samples whose voxels are all ignored; without any such sample it is ``loss`` itself.

    For a Dice loss that is a mean over samples: stock nnU-Net's gives such a sample a constant -1, which offsets the
    loss and dilutes the gradient of the others. (Batch Dice and cross-entropy count voxels and need no help.)

    Args:
        loss: Takes logits (B, K, D, H, W) and a target (B, 1 or R, D, H, W), of one scale.
        ignore_label: The label of ignored voxels; None for regions, whose last target channel marks them.
    """

    def __init__(self, loss: nn.Module, ignore_label: int | None) -> None:
        super().__init__()
        self.loss = loss
        self.ignore_label = ignore_label

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of the annotated samples; 0, with a gradient of 0, if there is none."""
        ignored = target[:, -1].bool() if self.ignore_label is None else target == self.ignore_label
        annotated = ~ignored.flatten(1).all(1)
        if annotated.all():
            return self.loss(logits, target)
        if not annotated.any():
            return logits[:0].float().sum()
        return self.loss(logits[annotated], target[annotated])
