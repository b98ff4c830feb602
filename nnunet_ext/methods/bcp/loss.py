"""BCP's loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from nnunet_ext.base.method_loss import MethodLoss, Target, TrainingStep
from nnunet_ext.semi_supervised.losses import PartialLoss


@dataclass
class BCPStep(TrainingStep):
    """A training step.

    Args:
        target: Labels and pseudo-labels pasted alike, (B, 1 or R, D, H, W), or their list over scales.
        box: True inside the box, (1, 1, D, H, W) or (1, 1, H, W); None in the warm-up, whose images are all labelled.
    """

    box: Tensor | None = None


class BCPLoss(MethodLoss):
    """nnU-Net's loss of the labelled part and, with less weight, of the pseudo-labelled part of pasted images [0].

    The first half of a batch are labelled images with an unlabelled box, the other half unlabelled images with a
    labelled box. Of each half, cross-entropy and Dice of each part are nnU-Net's own, with the other part ignored: they
    are sums over the part, divided by its size. The value is the mean over both halves of

        loss of the labelled part + ``weight`` x loss of the pseudo-labelled part.

    In the warm-up it is ``supervised`` alone.

    Args:
        supervised: nnU-Net's own loss, with its deep supervision.
        partial: Another such loss, which is changed so that it ignores what is hidden.
        regions: Number of regions; None for classes.
        ignore_label: The dataset's ignore label, if it has one.
        weight: Of pseudo-labelled parts; the authors use 0.5.

    [0] Bai et al., Bidirectional copy-paste for semi-supervised medical image segmentation, CVPR 2023,
    https://arxiv.org/abs/2305.00673

    Example:
        >>> import torch
        >>> from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
        >>> from nnunet_ext.methods.bcp.loss import BCPLoss, BCPStep
        >>> losses = [DC_and_CE_loss({"smooth": 0.0, "do_bg": False, "ddp": False}, {}) for _ in range(2)]
        >>> loss = BCPLoss(*losses)
        >>> box = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
        >>> box[..., 1:3, 1:3] = True
        >>> target = torch.ones(2, 1, 4, 4, dtype=torch.long)  # labels and pseudo-labels, pasted
        >>> step = BCPStep(target, box)
        >>> round(loss(torch.zeros(2, 2, 4, 4), step).item(), 4)  # (1 + 0.5) x (log 2 - 2 / 3)
        0.0397
    """

    parts: ClassVar = ("supervised_loss", "pseudo_label_loss")

    def __init__(
        self,
        supervised: nn.Module,
        partial: nn.Module,
        *,
        regions: int | None = None,
        ignore_label: int | None = None,
        weight: float = 0.5,
    ) -> None:
        super().__init__(supervised)
        self.partial = PartialLoss(partial, regions=regions, ignore_label=ignore_label)
        self.weight = weight

    def training_loss(self, output: Target, step: BCPStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its two terms.

        Args:
            output: Logits of the pasted images (B, K, D, H, W), or their list over scales.
            step: Labels and box.
        """
        if step.box is None:
            value = self.supervised(output, step.target)
            return value, {"supervised_loss": value, "pseudo_label_loss": value.new_zeros(())}
        (frame, boxed), (frame_target, boxed_target) = _halves(output), _halves(step.target)
        known = self.partial(frame, frame_target, step.box) + self.partial(boxed, boxed_target, ~step.box)
        guessed = self.partial(frame, frame_target, ~step.box) + self.partial(boxed, boxed_target, step.box)
        return (known + self.weight * guessed) / 2, {"supervised_loss": known / 2, "pseudo_label_loss": guessed / 2}


def _halves(scales: Target) -> tuple[Target, Target]:
    return _each(lambda scale: scale.chunk(2)[0], scales), _each(lambda scale: scale.chunk(2)[1], scales)


def _each(function: Callable[[Tensor], Tensor], scales: Target) -> Target:
    return [function(scale) for scale in scales] if isinstance(scales, list) else function(scales)
