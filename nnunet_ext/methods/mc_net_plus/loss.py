"""MC-Net+'s loss.

[0] Wu et al., Mutual consistency learning for semi-supervised medical image segmentation, Medical Image Analysis 81,
2022, https://doi.org/10.1016/j.media.2022.102530
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from nnunet_ext.base.method_loss import MethodLoss, TrainingStep
from nnunet_ext.methods.mc_net_plus.architecture import MCNetPlusOutput
from nnunet_ext.semi_supervised.losses import discrepancy, probabilities


@dataclass
class MCNetPlusStep(TrainingStep):
    """A training step.

    Args:
        target: Of the labelled samples, (B, 1 or R, D, H, W).
        ramp: What the weight of the discrepancy is multiplied by.
    """

    ramp: float = 1.0


class MCNetPlusLoss(MethodLoss):
    """Supervised loss of all decoders, and the discrepancy of each with the sharpened output of every other [0].

    The supervised terms see the labelled samples only, which come first and have a target; the discrepancy sees all.
    Sharpening is a softmax, or for regions a sigmoid, of the logits divided by ``temperature``.

    Differences from the authors: they sharpen each channel as if there were two, which with more classes makes all of
    them nearly vanish; and they also send gradients through the sharpened outputs (``detach=False``).

    Args:
        supervised: Takes logits (B, K, D, H, W) and a target, of one scale.
        regions: The channels are regions, and not classes.
        supervised_weight: The authors use 0.5 in 3d.
        consistency_weight: The authors use 1 in 3d; multiplied by the step's ``ramp``.
        temperature: The authors use 0.1.
        detach: No gradient flows through the sharpened outputs.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from nnunet_ext.methods.mc_net_plus.loss import MCNetPlusLoss, MCNetPlusStep
        >>> from nnunet_ext.methods.mc_net_plus.architecture import MCNetPlusOutput
        >>> loss, logits = MCNetPlusLoss(nn.L1Loss(), regions=True), torch.zeros(3, 1, 4, 4)  # 2 labelled, 1 unlabelled
        >>> step = MCNetPlusStep(torch.ones(2, 1, 4, 4), ramp=0.1)
        >>> loss(MCNetPlusOutput([logits, logits, logits]), step)  # three decoders that agree, half weight
        tensor(1.5000)
    """

    parts: ClassVar = ("supervised_loss", "consistency_loss")

    def __init__(
        self,
        supervised: nn.Module,
        *,
        regions: bool,
        supervised_weight: float = 0.5,
        consistency_weight: float = 1.0,
        temperature: float = 0.1,
        detach: bool = True,
    ) -> None:
        super().__init__(supervised)
        self.regions = regions
        self.supervised_weight = supervised_weight
        self.consistency_weight = consistency_weight
        self.temperature = temperature
        self.detach = detach

    def training_loss(self, output: MCNetPlusOutput, step: MCNetPlusStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its terms, without weights.

        Args:
            output: Of labelled samples, and perhaps unlabelled ones after them.
            step: Its target is that of the labelled samples.
        """
        target = step.target
        supervised = sum(self.supervised(logits[: len(target)], target) for logits in output.logits)
        consistency = self._consistency(output.logits)
        value = self.supervised_weight * supervised + step.ramp * self.consistency_weight * consistency
        return value, {"supervised_loss": supervised, "consistency_loss": consistency}

    def _consistency(self, logits: list[Tensor]) -> Tensor:
        plain = [probabilities(each, regions=self.regions) for each in logits]
        sharp = [probabilities(each.float() / self.temperature, regions=self.regions) for each in logits]
        if self.detach:
            sharp = [each.detach() for each in sharp]
        pairs = itertools.permutations(range(len(logits)), 2)
        return sum(
            (discrepancy(plain[one], sharp[other], regions=self.regions) for one, other in pairs),
            plain[0].new_zeros(()),
        )
