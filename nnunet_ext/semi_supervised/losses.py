"""Building blocks of losses on labelled and unlabelled images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from torch import Tensor, nn
from torch.nn import functional

Logits = Tensor | list[Tensor]
HIDDEN = -1  # of a dataset without ignore label; nnU-Net's loaders never give this label


def probabilities(logits: Tensor, *, regions: bool) -> Tensor:
    """Return float32 probabilities, regardless of the precision of the logits.

    Args:
        logits: (B, K, D, H, W) or (B, K, H, W).
        regions: The channels are regions, which may overlap: sigmoid. Else they are classes: softmax over them.
    """
    logits = logits.float()
    return logits.sigmoid() if regions else logits.softmax(1)


def discrepancy(first: Tensor, second: Tensor, *, regions: bool) -> Tensor:
    """Return the mean over samples and voxels of the squared difference of probabilities.

    Classes count half their sum: for two classes that is the mean over both, as in the literature, and it does not
    shrink with every further class. Regions count their mean; a single region has the value of two classes.

    Args:
        first: Probabilities (B, K, D, H, W) or (B, K, H, W).
        second: Probabilities of the same shape.
        regions: The channels are regions, and not classes that add up to 1.
    """
    squared = (first - second).square()
    return squared.mean() if regions else squared.sum(1).mean() / 2


def gaussian_ramp(step: int, length: float) -> float:
    """Return exp(-5 (1 - t)^2), where t grows from 0 to 1 over ``length`` steps; always 1 if ``length`` is 0.

    [0] Laine and Aila, Temporal ensembling for semi-supervised learning, ICLR 2017, https://arxiv.org/abs/1610.02242
    """
    t = min(step / length, 1.0) if length > 0 else 1.0
    return math.exp(-5 * (1 - t) ** 2)


def target_at(target: Tensor, size: Sequence[int]) -> Tensor:
    """Return a target, or a mask, resized as nnU-Net does for deep supervision.

    Args:
        target: (B, C, D, H, W) or (B, C, H, W).
        size: (D, H, W) or (H, W).
    """
    if target.shape[2:] == tuple(size):
        return target
    return functional.interpolate(target.float(), size=tuple(size), mode="nearest-exact").to(target.dtype)


def split_output(output: Logits, target: Logits) -> tuple[Logits, Logits]:
    """Split logits into those of the labelled samples, which come first and have a target, and of the others.

    Args:
        output: Logits (B, K, D, H, W), or their list over scales.
        target: Of the labelled samples, or its list over scales.
    """
    labelled = len(target[0] if isinstance(target, list) else target)
    if isinstance(output, list):
        return [scale[:labelled] for scale in output], [scale[labelled:] for scale in output]
    return output[:labelled], output[labelled:]


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


class PartialLoss(nn.Module):
    """nnU-Net's loss of some voxels: the others are ignored, as those of an ignore label are.

    Args:
        loss: nnU-Net's own loss, which is changed so that it ignores what is hidden.
        regions: Number of regions; None for classes.
        ignore_label: The dataset's ignore label, if it has one.
    """

    def __init__(self, loss: nn.Module, *, regions: int | None = None, ignore_label: int | None = None) -> None:
        super().__init__()
        self.loss = loss
        self.regions = regions
        self.hidden = HIDDEN if ignore_label is None else ignore_label
        for module in loss.modules():
            let_ignore(module, self.hidden)

    def forward(self, logits: Logits, target: Logits, hidden: Tensor) -> Tensor:
        """Return the loss.

        Args:
            logits: (B, K, D, H, W), or their list over scales.
            target: (B, 1 or R, D, H, W), or the list over scales.
            hidden: True where voxels do not count, (B or 1, 1, D, H, W), at full resolution.
        """
        if isinstance(target, list):
            return self.loss(logits, [self._hide(scale, target_at(hidden, scale.shape[2:])) for scale in target])
        return self.loss(logits, self._hide(target, hidden))

    def _hide(self, target: Tensor, hidden: Tensor) -> Tensor:
        if self.regions is None:
            return target.masked_fill(hidden, self.hidden)
        ignored = target[:, self.regions :].bool().any(1, keepdim=True) | hidden
        return torch.cat((target[:, : self.regions].bool(), ignored), 1)


def let_ignore(loss: nn.Module, label: int) -> None:
    """Let nnU-Net's loss ignore a label, or for regions what the target's last channel marks, if it does not yet.

    Args:
        loss: Of one scale; any other module stays as it is.
        label: The label.
    """
    if isinstance(loss, DC_and_CE_loss) and loss.ignore_label is None:
        loss.ignore_label = loss.ce.ignore_index = label
    elif isinstance(loss, DC_and_BCE_loss) and not loss.use_ignore_label:
        loss.use_ignore_label, loss.ce = True, _MeanOfChannels()


class _MeanOfChannels(nn.Module):
    """Cross-entropy of each voxel (B, 1, D, H, W); with an ignore label, nnU-Net's own is the sum over regions."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1, keepdim=True)
