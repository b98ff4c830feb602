"""LeFeD's loss.

[0] Zeng et al., Consistency-guided differential decoding for enhancing semi-supervised medical image segmentation, IEEE
Transactions on Medical Imaging 44, 2025, https://doi.org/10.1109/TMI.2024.3429340, arXiv 2309.14819
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnunet_ext.base.method_loss import MethodLoss, TrainingStep
from nnunet_ext.methods.lefed.architecture import LeFeDOutput
from nnunet_ext.methods.lefed.card import MOST_CLASSES_AT_FULL_SIZE
from nnunet_ext.semi_supervised.losses import discrepancy, probabilities, target_at

SMOOTH = 1e-5
SIDE_WEIGHTS = (0.8, 0.6, 0.4, 0.2, 0.1)


@dataclass
class LeFeDStep(TrainingStep):
    """One pass over a batch.

    Attributes:
        feedback: For the next pass over the same images; written by :class:`LeFeDLoss`.
    """

    feedback: list[Tensor] = field(default_factory=list, init=False)


class LeFeDLoss(MethodLoss):
    """Supervised loss of both decoders and of the side heads, and the discrepancy of the decoders [0].

    The supervised terms see the labelled samples only, which come first and have a target. The discrepancy sees all
    samples and sends its gradient to both decoders; its weight is constant from the first step on.

    The authors resize each side head's logits to the image, doubling them step by step with corners aligned. For few
    classes we do the same, from level to level of the network; otherwise each head is compared at its own size with the
    target resized as nnU-Net does for deep supervision, and the bottleneck's at the next larger one.

    Args:
        supervised: Takes logits (B, K, D, H, W) and a target, of one scale.
        regions: The channels are regions, and not classes.
        consistency_weight: Of the discrepancy; the authors use 1.
        side_weights: Of the side heads, full resolution first; the last one is for all lower resolutions, too.
        side_at_full_size: Resize side logits to the image; None does so for up to 4 channels.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from nnunet_ext.methods.lefed.loss import LeFeDLoss, LeFeDStep
        >>> from nnunet_ext.methods.lefed.architecture import LeFeDOutput
        >>> loss, logits = LeFeDLoss(nn.L1Loss(), regions=True), torch.ones(3, 1, 4, 4)  # 2 labelled, 1 not
        >>> step = LeFeDStep(torch.zeros(2, 1, 4, 4))
        >>> loss(LeFeDOutput(logits, logits, [logits, logits[..., ::2, ::2]], []), step)
        tensor(3.4000)
        >>> {name: round(part.item(), 4) for name, part in step.parts.items()}
        {'supervised_loss': 2.0, 'side_loss': 1.4, 'consistency_loss': 0.0}
    """

    parts: ClassVar = ("supervised_loss", "side_loss", "consistency_loss")

    def __init__(
        self,
        supervised: nn.Module,
        *,
        regions: bool,
        consistency_weight: float = 1.0,
        side_weights: Sequence[float] = SIDE_WEIGHTS,
        side_at_full_size: bool | None = None,
    ) -> None:
        super().__init__(supervised)
        self.regions = regions
        self.consistency_weight = consistency_weight
        self.side_weights = tuple(side_weights)
        self.side_at_full_size = side_at_full_size

    def training_loss(self, output: LeFeDOutput, step: LeFeDStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its terms; the step gets the output's feedback.

        Args:
            output: Of labelled samples, and perhaps unlabelled ones after them.
            step: Its target is a tensor, of the labelled samples.
        """
        target = step.target
        assert isinstance(target, Tensor)  # no deep supervision
        labelled = len(target)
        supervised = sum(self.supervised(logits[:labelled], target) for logits in (output.first, output.second))
        side = self._side([logits[:labelled] for logits in output.side], target)
        first, second = (probabilities(logits, regions=self.regions) for logits in (output.first, output.second))
        consistency = discrepancy(first, second, regions=self.regions)
        step.feedback = output.feedback
        parts = {"supervised_loss": supervised, "side_loss": side, "consistency_loss": consistency}
        return supervised + side + self.consistency_weight * consistency, parts

    def _side(self, side: list[Tensor], target: Tensor) -> Tensor:
        full = self.side_at_full_size
        if full is None:
            full = side[0].shape[1] <= MOST_CLASSES_AT_FULL_SIZE
        sizes = [level.shape[2:] for level in side]
        total = side[0].new_zeros((), dtype=torch.float32)
        for level, logits in enumerate(side):
            last = 0 if full else min(level, len(side) - 2)
            resized = _level_by_level(logits, sizes[last:level])
            weight = self.side_weights[min(level, len(self.side_weights) - 1)]
            total = total + weight * self.supervised(resized, target_at(target, sizes[last]))
        return total


class SquaredDice(nn.Module):
    """1 - Dice with squares in the denominator, over all voxels of the batch, averaged over classes; the authors' [0].

    The background does not count, unless the channels are regions.

    Args:
        regions: The channels are regions, and not classes.
        ignore_label: nnU-Net's ignore label, if the dataset has one; in a region target the last channel marks it.
    """

    def __init__(self, *, regions: bool, ignore_label: int | None = None) -> None:
        super().__init__()
        self.regions = regions
        self.ignore_label = ignore_label

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``logits`` (B, K, D, H, W) against ``target`` (B, 1 or R, D, H, W)."""
        predicted, truth, counts = probabilities(logits, regions=self.regions), target, None
        if self.ignore_label is not None:
            counts = ~target[:, -1:].bool() if self.regions else target != self.ignore_label
        if self.regions:
            truth = target[:, : logits.shape[1]].to(predicted.dtype)
        else:
            truth = target if counts is None else target * counts
            truth = torch.zeros_like(predicted).scatter_(1, truth.long(), 1)[:, 1:]
            predicted = predicted[:, 1:]
        if counts is not None:
            predicted, truth = predicted * counts, truth * counts
        axes = (0, *range(2, predicted.ndim))
        both = (predicted * truth).sum(axes)
        either = predicted.square().sum(axes) + truth.sum(axes)
        return 1 - ((2 * both + SMOOTH) / (either + SMOOTH)).mean()


def _level_by_level(logits: Tensor, sizes: Sequence[Sequence[int]]) -> Tensor:
    """Resize linearly, corners aligned, to one size after the other, the last one first."""
    mode = ("linear", "bilinear", "trilinear")[logits.ndim - 3]
    for size in reversed(sizes):
        logits = functional.interpolate(logits, size=tuple(size), mode=mode, align_corners=True)
    return logits
