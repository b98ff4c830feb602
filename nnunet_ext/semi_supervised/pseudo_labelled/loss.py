"""The loss of labelled and pseudo-labelled samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from nnunet_ext.base.method_loss import MethodLoss, Target, TrainingStep
from nnunet_ext.semi_supervised.losses import Logits, split_output

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass
class PseudoLabelStep(TrainingStep):
    """A training step.

    Args:
        target: Of the labelled samples, (B, 1 or R, D, H, W), or its list over scales.
        pseudo_target: Pseudo-labels of the unlabelled samples, in the form of a target; None before there are any.
    """

    pseudo_target: Target | None = None

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        """Move both targets."""
        if self.pseudo_target is not None:
            self.pseudo_target = TrainingStep(self.pseudo_target).to(device, non_blocking=non_blocking).target
        return super().to(device, non_blocking=non_blocking)


class PseudoLabelLoss(MethodLoss):
    """Mean of nnU-Net's loss over labelled samples, of weight 1 each, and pseudo-labelled ones.

    Args:
        supervised: nnU-Net's own loss, with its deep supervision.
        weight: Of a pseudo-labelled sample.
        partial: Takes the place of ``supervised`` in steps with pseudo-labels, if they have voxels to ignore.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from nnunet_ext.semi_supervised.pseudo_labelled.loss import PseudoLabelLoss, PseudoLabelStep
        >>> loss, logits = PseudoLabelLoss(nn.L1Loss(), weight=0.5), torch.zeros(3, 1, 4, 4)  # 2 labelled, 1 unlabelled
        >>> step = PseudoLabelStep(torch.ones(2, 1, 4, 4), pseudo_target=torch.full((1, 1, 4, 4), 3.0))
        >>> loss(logits, step)  # (2 x 1 + 0.5 x 3) / 2.5
        tensor(1.4000)
    """

    parts: ClassVar = ("supervised_loss", "pseudo_label_loss")

    def __init__(self, supervised: nn.Module, weight: float, partial: nn.Module | None = None) -> None:
        super().__init__(supervised)
        self.partial = supervised if partial is None else partial
        self.weight = weight

    def training_loss(self, output: Logits, step: PseudoLabelStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its two terms; before there are pseudo-labels it is ``supervised`` alone.

        Args:
            output: Logits of labelled and unlabelled samples (B + Bu, K, D, H, W), or their list over scales.
            step: Labels and pseudo-labels.
        """
        target, pseudo_target = step.target, step.pseudo_target
        if pseudo_target is None:
            value = self.supervised(output, target)
            return value, {"supervised_loss": value, "pseudo_label_loss": value.new_zeros(())}
        labelled, unlabelled = split_output(output, target)
        supervised = self.partial(labelled, target)
        pseudo = self.partial(unlabelled, pseudo_target)
        counts = [len(part[0] if isinstance(part, list) else part) for part in (target, pseudo_target)]
        weights = counts[0], self.weight * counts[1]
        value = (weights[0] * supervised + weights[1] * pseudo) / sum(weights)
        return value, {"supervised_loss": supervised, "pseudo_label_loss": pseudo}
