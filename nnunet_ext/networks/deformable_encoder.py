"""A transformer encoder of deformable attention over feature maps of several resolutions.

[0] Zhu et al., Deformable DETR: deformable transformers for end-to-end object detection, ICLR 2021,
https://arxiv.org/abs/2010.04159
[1] Wang et al., DeepNet: scaling transformers to 1,000 layers, 2022, https://arxiv.org/abs/2203.00555
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_ext.networks.deformable_attention import DeformableAttention, token_references

TEMPERATURE = 10000.0


def sine_position(size: Sequence[int], channels: int, *, device: torch.device | str | None = None) -> Tensor:
    """Return sines and cosines of each voxel's coordinates, at frequencies that decrease from one pair to the next.

    Coordinates are those of the voxel's centre, 0 to 2 pi along each axis. Each axis has an equal, even number of
    channels: sine, cosine of the first frequency, sine, cosine of the second, and so on; the axes follow one another as
    in ``size``. Channels that are left over stay 0.

    Args:
        size: Voxels (D, H, W) or (H, W).
        channels: Channels of all axes together.
        device: Where to make them.

    Returns:
        float32 (D * H * W, channels), voxels in row-major order.
    """
    pairs = channels // (2 * len(size))
    frequencies = TEMPERATURE ** (-torch.arange(pairs, device=device, dtype=torch.float32) / max(1, pairs))
    of_axes = []
    for axis, length in enumerate(size):
        coordinates = (torch.arange(length, device=device, dtype=torch.float32) + 0.5) * (2 * math.pi / length)
        angles = coordinates[:, None] * frequencies
        waves = torch.stack((angles.sin(), angles.cos()), -1).flatten(1)
        shape = [length if other == axis else 1 for other in range(len(size))]
        of_axes.append(waves.view(*shape, 2 * pairs).expand(*size, 2 * pairs))
    rest = torch.zeros(*size, channels - 2 * pairs * len(size), device=device)
    return torch.cat((*of_axes, rest), -1).flatten(0, -2)


class DeformableEncoder(nn.Module):
    """Layers of multi-scale deformable self-attention [0] and a feed-forward part, each followed by a LayerNorm.

    The voxels of all levels are the tokens. Queries are tokens + sine position + a learned embedding of the level,
    values are the tokens alone, and a token's reference is its own place. No mask: nothing is padded.

    Args:
        channels: Channels of every level.
        layers: Layers.
        levels: Feature maps.
        heads: Heads of the attention.
        points: Points per head and level.
        hidden: Channels within the feed-forward part.
        dims: Spatial axes, 2 or 3.
        dropout: Probability, after the attention, within and after the feed-forward part.
        activation: Between the feed-forward part's two layers.
        alpha: Factor of the residual branch; above 1 with DeepNorm [1].
        beta: Gain of the Xavier weights of values, outputs and feed-forward parts; below 1 with DeepNorm [1].

    Raises:
        ValueError: ``channels`` cannot be divided by ``heads``.
    """

    def __init__(
        self,
        channels: int,
        *,
        layers: int,
        levels: int,
        heads: int,
        points: int,
        hidden: int,
        dims: int = 3,
        dropout: float = 0.1,
        activation: type[nn.Module] = nn.GELU,
        alpha: float = 1.0,
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        self.level_embedding = nn.Parameter(torch.randn(levels, channels))
        self.layers = nn.ModuleList(
            _Layer(
                DeformableAttention(channels, levels=levels, heads=heads, points=points, dims=dims),
                hidden=hidden,
                channels=channels,
                dropout=dropout,
                activation=activation,
                alpha=alpha,
                beta=beta,
            )
            for _ in range(layers)
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Let all voxels of all levels exchange information.

        Args:
            features: One (B, C, D, H, W) or (B, C, H, W) per level, finest first.

        Returns:
            Tensors of the same shapes.
        """
        sizes = [tuple(feature.shape[2:]) for feature in features]
        device, channels = features[0].device, features[0].shape[1]
        tokens = torch.cat([_RowMajorGradient.apply(feature).flatten(2).transpose(1, 2) for feature in features], 1)
        positions = torch.cat(
            [
                sine_position(size, channels, device=device) + embedding
                for size, embedding in zip(sizes, self.level_embedding, strict=True)
            ]
        )
        references = token_references(sizes, device=device)
        for layer in self.layers:
            tokens = layer(tokens, positions, references, sizes)
        of_levels = tokens.split([math.prod(size) for size in sizes], 1)
        return [part.transpose(1, 2).unflatten(2, size) for part, size in zip(of_levels, sizes, strict=True)]

    def compute_conv_feature_map_size(self, sizes: Sequence[Sequence[int]]) -> int:
        """Return the elements that training keeps for one sample with levels of these sizes, for planners.

        nnU-Net's unit is the output of a convolution, kept twice (before and after its norm) in half precision: 4
        bytes, hence one sampled value or position in float32 is one element.
        """
        tokens = sum(math.prod(size) for size in sizes)
        return tokens * sum(layer.elements_per_token() for layer in self.layers)  # type: ignore[operator]


class _RowMajorGradient(torch.autograd.Function):
    """The identity, with a contiguous gradient.

    That of tokens is laid out channels last, for which torch's instance norm on a CPU gives wrong gradients at batch 1.
    """

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()


class _Layer(nn.Module):
    """Attention and feed-forward part, each added to ``alpha`` x its input and normalized."""

    def __init__(
        self,
        attention: DeformableAttention,
        *,
        channels: int,
        hidden: int,
        dropout: float,
        activation: type[nn.Module],
        alpha: float,
        beta: float,
    ) -> None:
        super().__init__()
        self.alpha, self.hidden = alpha, hidden
        self.attention = attention
        self.attention_dropout = nn.Dropout(dropout)
        self.attention_norm = nn.LayerNorm(channels)
        wide, narrow = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.feed_forward = nn.Sequential(wide, activation(), nn.Dropout(dropout), narrow)
        self.feed_forward_dropout = nn.Dropout(dropout)
        self.feed_forward_norm = nn.LayerNorm(channels)
        self.attention.reset_parameters(beta)
        for linear in (wide, narrow):
            nn.init.xavier_normal_(linear.weight, beta)
            nn.init.zeros_(linear.bias)

    def forward(self, tokens: Tensor, positions: Tensor, references: Tensor, sizes: list[tuple[int, ...]]) -> Tensor:
        read = self.attention(tokens + positions, references, tokens, sizes)
        tokens = self.attention_norm(self.alpha * tokens + self.attention_dropout(read))
        changed = self.feed_forward(tokens)
        return self.feed_forward_norm(self.alpha * tokens + self.feed_forward_dropout(changed))

    def elements_per_token(self) -> int:
        """Return the elements kept for backward: sampled values, their places and weights, and what linears output."""
        attention = self.attention
        channels, sampled = attention.output.in_features, attention.heads * attention.levels * attention.points
        sampling = attention.levels * attention.points * channels + sampled * (attention.dims + 1)
        return sampling + 2 * self.hidden + 8 * channels
