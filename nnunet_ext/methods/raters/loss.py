"""Losses on the maps of several raters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import Tensor, nn

from nnunet_ext.base.method_loss import MethodLoss, TrainingStep
from nnunet_ext.methods.raters.architecture import RaterOutput
from nnunet_ext.methods.raters.preference_heads import Opinions
from nnunet_ext.methods.raters.rated_labels import RatedLabels
from nnunet_ext.methods.raters.soft_loss import SoftLoss


@dataclass
class RatersStep(TrainingStep):
    """What a step hands to the loss: ``target`` holds the maps (B, 1 + R, D, H, W) of the case and of its raters.

    Args:
        present: Which raters annotated which sample, (B, R), bool, in CPU memory.
    """

    present: Tensor

    def share(self, rater: int) -> float:
        """Return the share of samples that a rater annotated."""
        return float(self.present[:, rater].float().mean())


class _OfRaters(MethodLoss):
    """What these losses share.

    Args:
        supervised: nnU-Net's own loss.
        labels: How the maps are read.
        masked: nnU-Net's loss of one scale that takes unknown voxels (:attr:`RatedLabels.unknown`).
    """

    def __init__(self, supervised: nn.Module, labels: RatedLabels, masked: DC_and_CE_loss | DC_and_BCE_loss) -> None:
        super().__init__(supervised)
        self.labels = labels
        inner = supervised.loss if isinstance(supervised, DeepSupervisionWrapper) else supervised
        self.soft, self.masked = SoftLoss(inner, labels), masked
        self._weight_ce = masked.weight_ce

    def over_scales(self, loss: Any, logits: Tensor | list[Tensor], maps: Tensor | list[Tensor]) -> Tensor:
        """Return a loss over all scales, with nnU-Net's weights."""
        if isinstance(self.supervised, DeepSupervisionWrapper):
            return DeepSupervisionWrapper(loss, self.supervised.weight_factors)(logits, maps)
        value: Tensor = loss(logits, maps)
        return value

    def known(self, logits: Tensor, maps: Tensor, share: float = 1.0) -> Tensor:
        """Return nnU-Net's loss of one scale with a label map (B, 1, ...) in which voxels may be unknown.

        Args:
            logits: (B, K, ...).
            maps: Label maps.
            share: Of the samples that have a map. Cross-entropy is a mean over known voxels; weighted with it, a sample
                counts as much as in Dice, however the batch is shared between processes.
        """
        self.masked.weight_ce = self._weight_ce * share
        value: Tensor = self.masked(logits, self.labels.target(maps, unknown=True))
        return value

    def consensus(self, logits: Tensor | list[Tensor], step: RatersStep) -> Tensor:
        """Return the loss with the shares of the raters."""
        return self.over_scales(lambda scale, maps: self.soft(scale, maps, step.present), logits, step.target)

    def rater(self, logits: Tensor | list[Tensor], step: RatersStep, rater: int) -> Tensor:
        """Return the loss of one rater's logits; samples that the rater left out do not count."""

        def of_scale(scale: Tensor, maps: Tensor) -> Tensor:
            return self.known(scale, self.labels.of_rater(maps, step.present, rater), step.share(rater))

        return self.over_scales(of_scale, logits, step.target)


class SharesLoss(_OfRaters):
    """Mode ``soft``: nnU-Net's loss with the mean of the raters' one-hots."""

    def training_loss(self, output: Tensor | list[Tensor], step: RatersStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss; it has one term."""
        return self.consensus(output, step), {}


class AgreementLoss(_OfRaters):
    """Mode ``agreement``: nnU-Net's loss where all raters of a sample say the same; the rest is ignored."""

    def training_loss(self, output: Tensor | list[Tensor], step: RatersStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss; it has one term."""

        def of_scale(logits: Tensor, maps: Tensor) -> Tensor:
            return self.known(logits, self.labels.agreed(maps, step.present))

        return self.over_scales(of_scale, output, step.target), {}


class HeadsLoss(_OfRaters):
    """Mode ``heads``: the consensus learns the shares, each rater's heads learn that rater; mean over the raters."""

    parts: ClassVar = ("consensus_loss", "rater_loss")

    def training_loss(self, output: RaterOutput, step: RatersStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its two terms."""
        consensus = self.consensus(output.consensus, step)
        raters = torch.stack([self.rater(logits, step, rater) for rater, logits in enumerate(output.raters)]).mean()
        return consensus + raters, {"consensus_loss": consensus, "rater_loss": raters}


class PreferenceLoss(_OfRaters):
    """Mode ``padl`` [0]: samples of the consensus and of the rater, each against the rater's map; mean over the raters.

    The scales below full resolution supervise the mean of the consensus with the shares; so does the full resolution
    in samples that nobody rated, whose share is the case's own label.

    [0] Liao et al., Medical Image Analysis 2024, https://arxiv.org/abs/2111.13410
    """

    parts: ClassVar = ("consensus_loss", "rater_loss", "consensus_sigma", "rater_sigma")

    def training_loss(self, output: RaterOutput, step: RatersStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its terms; both sigmas are logged, because they collapse if samples are useless."""
        found = output.opinions
        assert found is not None
        weights: list[float]
        scales: Any
        targets: Any
        weights, scales, targets = [1.0], [output.consensus], [step.target]
        if isinstance(self.supervised, DeepSupervisionWrapper):
            weights, scales, targets = list(self.supervised.weight_factors), output.consensus, step.target
        maps = targets[0]
        consensus, raters = self._samples(found, maps, step)
        consensus = weights[0] * (consensus + self._unrated(found.mean, maps, step))
        for weight, logits, coarse in zip(weights[1:], scales[1:], targets[1:], strict=True):
            if weight:
                consensus = consensus + weight * self.soft(logits, coarse, step.present)
        raters = weights[0] * raters
        terms = {"consensus_loss": consensus, "rater_loss": raters, "consensus_sigma": found.sigma.mean()}
        return consensus + raters, terms | {"rater_sigma": torch.stack([each.mean() for each in found.sigmas]).mean()}

    def _unrated(self, mean: Tensor, maps: Tensor, step: RatersStep) -> Tensor:
        # computed in each step: processes that share a batch sum Dice over all of it
        share = float((~step.present.any(1)).float().mean())
        return self.known(mean, self.labels.of_case(maps, step.present), share) * (share > 0)

    def _samples(self, found: Opinions, maps: Tensor, step: RatersStep) -> tuple[Tensor, Tensor]:
        losses = []
        for rater, (mean, sigma) in enumerate(zip(found.raters, found.sigmas, strict=True)):
            drawn, share = self.labels.of_rater(maps, step.present, rater), step.share(rater)
            of_consensus = self.known(_sample(found.mean, found.sigma), drawn, share)
            losses.append(torch.stack((of_consensus, self.known(_sample(mean, sigma), drawn, share))))
        consensus, own = torch.stack(losses).mean(0)
        return consensus, own


def _sample(mean: Tensor, sigma: Tensor) -> Tensor:
    return mean.float() + sigma * torch.randn_like(sigma)
