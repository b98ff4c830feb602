"""An example of a method in a package of its own: nnU-Net with probabilities that change little between voxels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from nnunet_ext import ExtTrainer, Knob, Method, MethodLoss, TrainingStep
from nnunet_ext.base.method import number

CARD = Method(
    key="smooth",
    title="Smooth nnU-Net",
    summary="nnU-Net's loss, and the total variation of the probabilities",
    trainers=("SmoothTrainer",),
    papers=("Rudin et al., Nonlinear total variation based noise removal algorithms, Physica D 60, 1992",),
    knobs=(Knob("weight", 0.1, "weight of the total variation", number(0), "a number >= 0"),),
)


class SmoothLoss(MethodLoss):
    """nnU-Net's loss + ``weight`` x mean difference of neighbouring probabilities at full resolution."""

    parts: ClassVar = ("segmentation_loss", "variation_loss")

    def __init__(self, supervised: nn.Module, weight: float, *, regions: bool) -> None:
        super().__init__(supervised)
        self.weight = weight
        self.regions = regions

    def training_loss(self, output: Tensor | list[Tensor], step: TrainingStep) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss and its two terms."""
        logits = (output[0] if isinstance(output, list) else output).float()
        probabilities = logits.sigmoid() if self.regions else logits.softmax(1)
        variation = sum(probabilities.diff(dim=axis).abs().mean() for axis in range(2, logits.ndim))
        segmentation = self.supervised(output, step.target)
        return segmentation + self.weight * variation, {"segmentation_loss": segmentation, "variation_loss": variation}


class SmoothTrainer(ExtTrainer):
    """Stock nnU-Net with :class:`SmoothLoss`. Knob: ``smooth.weight``."""

    card = CARD

    def _build_loss(self) -> SmoothLoss:
        weight, regions = self.knobs["smooth"]["weight"], self.label_manager.has_regions
        return SmoothLoss(super()._build_loss(), weight, regions=regions)
