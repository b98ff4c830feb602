"""Mean Teacher's loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from nnunet_ext.base.method_loss import MethodLoss, TrainingStep
from nnunet_ext.semi_supervised.losses import Logits, discrepancy, probabilities, split_output


@dataclass
class MeanTeacherStep(TrainingStep):
    """A training step.

    Args:
        target: Of the labelled samples, (B, 1 or R, D, H, W), or its list over scales.
        teacher: The teacher's probabilities of the unlabelled samples (Bu, K, D, H, W).
        weight: Weight of the difference to them.
    """

    teacher: Tensor
    weight: float


class MeanTeacherLoss(MethodLoss):
    """Supervised loss of the labelled samples + weight x squared difference to the teacher on the others.

    The difference is one of probabilities at full resolution, averaged as in
    :func:`~nnunet_ext.semi_supervised.losses.discrepancy`: for two classes the mean over both, and not less for
    every further class.

    Args:
        supervised: nnU-Net's own loss, with its deep supervision.
        regions: The channels are regions.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from nnunet_ext.methods.mean_teacher.loss import MeanTeacherLoss, MeanTeacherStep
        >>> loss, logits = MeanTeacherLoss(nn.L1Loss(), regions=True), torch.zeros(3, 1, 4, 4)  # 2 labelled, 1 not
        >>> step = MeanTeacherStep(torch.ones(2, 1, 4, 4), teacher=torch.ones(1, 1, 4, 4), weight=0.1)
        >>> loss(logits, step)  # 1 + 0.1 x (0.5 - 1)^2
        tensor(1.0250)
    """

    parts: ClassVar = ("supervised_loss", "consistency_loss")

    def __init__(self, supervised: nn.Module, *, regions: bool) -> None:
        super().__init__(supervised)
        self.regions = regions

    def training_loss(self, output: Logits, step: MeanTeacherStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its two terms.

        Args:
            output: Logits of labelled and unlabelled samples (B + Bu, K, D, H, W), or their list over scales.
            step: The teacher's probabilities.
        """
        labelled, unlabelled = split_output(output, step.target)
        supervised = self.supervised(labelled, step.target)
        finest = unlabelled[0] if isinstance(unlabelled, list) else unlabelled
        consistency = discrepancy(probabilities(finest, regions=self.regions), step.teacher, regions=self.regions)
        value = supervised + step.weight * consistency
        return value, {"supervised_loss": supervised, "consistency_loss": consistency}
