"""The style of features: mean and standard deviation of each channel of a sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

EPSILON = 1e-6  # of the variance, as in MixStyle and TriD


@dataclass(frozen=True)
class Style:
    """Mean and standard deviation.

    Args:
        mean: (B, C), float32.
        deviation: (B, C), float32.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, features: Tensor) -> Style:
        """Return the style of features (B, C, ...), of at least two voxels; it passes no gradient on.

        In float32: the variance of many voxels overflows float16.
        """
        variance, mean = torch.var_mean(features.float().flatten(2), dim=2)
        return cls(mean, (variance + EPSILON).sqrt())

    def take(self, samples: Tensor) -> Style:
        """Return the style of some samples, by their numbers."""
        return Style(self.mean[samples], self.deviation[samples])

    def mixed(self, other: Style, share: Tensor) -> Style:
        """Return ``share`` of this style, and the rest of another.

        Args:
            other: The other one.
            share: Broadcasts to (B, C); numbers or truth values.
        """
        means, deviations = (self.mean, other.mean), (self.deviation, other.deviation)
        if share.dtype == torch.bool:
            return Style(torch.where(share, *means), torch.where(share, *deviations))
        return Style(*(share * mine + (1 - share) * theirs for mine, theirs in (means, deviations)))


def with_style(features: Tensor, own: Style, other: Style) -> Tensor:
    """Return features with another style; the gradient to them is the ratio of the standard deviations.

    Args:
        features: (B, C, ...), of any float type.
        own: Their style.
        other: The wanted one.

    Example:
        >>> import torch
        >>> from nnunet_ext.methods.domain_randomisation.style import Style, with_style
        >>> features = torch.tensor([[[0.0, 2.0]]])
        >>> with_style(features, Style.of(features), Style(torch.tensor([[0.25]]), torch.tensor([[0.5]])))
        tensor([[[-0.1036,  0.6036]]])
    """
    scale = other.deviation / own.deviation
    shift = other.mean - own.mean * scale
    axes = (..., *[None] * (features.ndim - 2))
    return features * scale[axes].to(features.dtype) + shift[axes].to(features.dtype)
