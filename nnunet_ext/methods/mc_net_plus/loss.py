"""MC-Net+'s loss.

[0] Wu et al., Mutual consistency learning for semi-supervised medical image segmentation, Medical Image Analysis 81,
2022, https://doi.org/10.1016/j.media.2022.102530
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from nnunet_ext.methods.mc_net_plus.architecture import MCNetPlusOutput
from nnunet_ext.semi_supervised.losses import discrepancy, probabilities


class MCNetPlusLoss(nn.Module):
    """Supervised loss of all decoders, and the discrepancy of each with the sharpened output of every other [0].

    The supervised terms see the labelled samples only, which come first and have a target; the discrepancy sees all.
    Sharpening is a softmax, or for regions a sigmoid, of the logits divided by ``temperature``.

    In eval mode the network returns the first decoder's logits, and the loss is the supervised one alone: that is the
    validation loss in nnU-Net's log.

    What differs from the authors: they sharpen each channel as if there were two, which for more classes leaves next to
    nothing of all of them; and they send gradients through the sharpened outputs, too (``detach=False``).

    Args:
        supervised: Takes logits (B, K, D, H, W) and a target, of one scale.
        regions: The channels are regions, and not classes.
        supervised_weight: The authors' is 0.5 in 3d.
        consistency_weight: The authors' is 1 in 3d; multiplied by ``ramp``, which a trainer sets.
        temperature: The authors' is 0.1.
        detach: No gradient goes through the sharpened outputs.
    """

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
        super().__init__()
        self.supervised = supervised
        self.regions = regions
        self.supervised_weight = supervised_weight
        self.consistency_weight = consistency_weight
        self.temperature = temperature
        self.detach = detach
        self.ramp = 1.0
        self.parts: dict[str, Tensor] = {}

    def forward(self, output: MCNetPlusOutput | Tensor | list[Tensor], target: Tensor) -> Tensor:
        """Return the loss; in train mode leave its parts, detached and without weights, in ``parts``.

        Args:
            output: Of labelled samples, and perhaps unlabelled ones after them.
            target: Of the labelled samples, (B, 1 or R, D, H, W).
        """
        if not isinstance(output, MCNetPlusOutput):
            return self.supervised(output, target)
        supervised = sum(self.supervised(logits[: len(target)], target) for logits in output.logits)
        consistency = self._consistency(output.logits)
        self.parts = {"supervised_loss": supervised.detach(), "consistency_loss": consistency.detach()}
        return self.supervised_weight * supervised + self.ramp * self.consistency_weight * consistency

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
