"""The heads of PADL: a consensus with its uncertainty, and each rater's preference and stochastic error.

[0] Liao et al., Modeling annotator preference and stochastic annotation error for medical image segmentation, Medical
    Image Analysis 2024, https://arxiv.org/abs/2111.13410
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn
from torch.nn import functional

FLOOR = 1e-3  # of sigma; without it, sigma collapses, and losses on samples stop telling anything
EPSILON = 1e-6


@dataclass
class Opinions:
    """Independent Gaussians of the logits of each voxel.

    Args:
        mean: Of the consensus, (B, K, D, H, W).
        sigma: Its standard deviation, of the same shape.
        raters: Mean of each rater.
        sigmas: Standard deviation of each rater.
    """

    mean: Tensor
    sigma: Tensor
    raters: list[Tensor]
    sigmas: list[Tensor]


def attention(logits: Tensor, *, regions: bool) -> Tensor:
    """Return 1 + entropy, detached: 1 where the consensus is sure, 2 where it knows nothing.

    Args:
        logits: Of the consensus, (B, K, D, H, W).
        regions: Entropy of each output in bits, (B, K, ...); else of the classes together, relative to that of equal
            probabilities, (B, 1, ...).
    """
    logits = logits.detach().float()
    if regions:
        p = logits.sigmoid()
        return 1 - p * (p + EPSILON).log2() - (1 - p) * (1 - p + EPSILON).log2()
    p = logits.softmax(1)
    return 1 - (p * (p + EPSILON).log()).sum(1, keepdim=True) / math.log(logits.shape[1])


class PreferenceHead(nn.Module):
    """1x1 convolution, ReLU, times the attention, beside a mean, 1x1 convolution; without PADL's batch norm.

    Args:
        conv: Class of the convolution.
        features: Channels of the decoder's last features.
        outputs: Classes or regions.
    """

    def __init__(self, conv: type[nn.Module], features: int, outputs: int) -> None:
        super().__init__()
        self.reduce = conv(features, outputs, 1)
        self.out = conv(2 * outputs, outputs, 1)

    def forward(self, features: Tensor, attention: Tensor, mean: Tensor) -> Tensor:
        """Return (B, K, ...)."""
        reduced = functional.relu(self.reduce(features)) * attention.to(features.dtype)
        return self.out(torch.cat((reduced, mean.to(reduced.dtype)), 1))


class PreferenceHeads(nn.Module):
    """The heads [0] on the decoder's last features: sigma of the consensus, residual and sigma of each rater.

    Differences from the authors: 3d as well, classes as well as regions, no batch norm (nnU-Net's batches are small),
    sigma = softplus + 0.001 instead of an absolute value.

    Args:
        conv: Class of the convolutions.
        features: Channels of the features.
        outputs: Classes or regions, K.
        raters: Number of raters.
        regions: The outputs are regions.
    """

    def __init__(self, conv: type[nn.Module], features: int, outputs: int, raters: int, *, regions: bool) -> None:
        super().__init__()
        self.regions = regions
        self.number = raters
        # consensus sigma, then residual and sigma of each rater; named as nnU-Net leaves out of pretrained weights
        self.seg_layers = nn.ModuleList(PreferenceHead(conv, features, outputs) for _ in range(1 + 2 * raters))
        self.seg_layers.apply(InitWeights_He(1e-2))

    @property
    def kept_channels(self) -> int:
        """Channels at full resolution that training keeps: two convolutions and their input for each head."""
        return len(self.seg_layers) * 4 * self.seg_layers[0].out.out_channels  # type: ignore[union-attr, operator, return-value]

    def forward(self, features: Tensor, mean: Tensor) -> Opinions:
        """Return the Gaussians.

        Args:
            features: (B, F, D, H, W).
            mean: Logits of the consensus, (B, K, D, H, W).
        """
        weight = attention(mean, regions=self.regions)
        first, *others = self.seg_layers
        found = Opinions(mean, _sigma(first(features, weight, mean)), [], [])
        for residual, sigma in zip(others[::2], others[1::2], strict=True):
            own = mean + residual(features, weight, mean)
            found.raters.append(own)
            found.sigmas.append(_sigma(sigma(features, weight, own)))
        return found


def _sigma(raw: Tensor) -> Tensor:
    return functional.softplus(raw.float()) + FLOOR
