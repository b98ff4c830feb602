"""A head whose kernels are given with each sample, and bounded logits.

[0] Zhang et al., DoDNet: learning to segment multi-organ and tumors from multiple partially labeled datasets, CVPR
2021, https://arxiv.org/abs/2011.10217
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 8  # of DoDNet's authors
FREE = 60.0  # up to here nothing changes: sigmoid and softmax are saturated long before
LIMIT = 110.0


class DynamicHead(nn.Module):
    """DoDNet's dynamic head [0]: 1x1x1 convolutions, ReLU between them, with separate kernels for every sample.

    It has no weights: a controller makes them. The parameters of a sample are a vector: the weights of all layers, each
    (output, input), then the biases of all layers. Three layers of width 8 with two outputs take 64 | 64 | 16 | 8 | 8 |
    2 = 162. A layer is one batched matrix product, in float32 under autocast too: generated kernels have no bound, and
    sums of opposite infinities in half precision would be NaN.

    Args:
        heads: Outputs.
        width: Channels of the features and of the layers before the last.
        depth: Layers.

    Attributes:
        parameter_count: Length of a sample's vector.
        weight_count: How many of them are weights, which come first; the others are biases.
    """

    def __init__(self, heads: int, *, width: int = WIDTH, depth: int = 3) -> None:
        super().__init__()
        if min(heads, width, depth) < 1:
            raise ValueError(f"expected heads, width and depth of at least 1, got {heads}, {width} and {depth}")
        self.heads, self.width, self.depth = heads, width, depth
        channels = [width] * depth + [heads]
        self._shapes = [(outputs, inputs) for inputs, outputs in pairwise(channels)]
        self._lengths = [outputs * inputs for outputs, inputs in self._shapes] + [shape[0] for shape in self._shapes]
        self.parameter_count = sum(self._lengths)
        self.weight_count = sum(self._lengths[:depth])

    def forward(self, features: Tensor, parameters: Tensor) -> Tensor:
        """Return logits (B, heads, D, H, W) of features (B, width, D, H, W), 2d alike.

        Args:
            features: The features.
            parameters: (B, parameter_count), a vector for each sample.
        """
        precision = torch.promote_types(features.dtype, torch.float32)
        parts = parameters.to(precision).split(self._lengths, 1)
        with torch.autocast(features.device.type, enabled=False):
            x = features.to(precision).flatten(2)
            for layer, shape in enumerate(self._shapes):
                weight, bias = parts[layer].unflatten(1, shape), parts[self.depth + layer].unsqueeze(2)
                x = torch.baddbmm(bias, weight, x if layer == 0 else functional.relu(x))
        return x.unflatten(2, features.shape[2:])

    def compute_conv_feature_map_size(self, size: Sequence[int]) -> int:
        """Return the elements that training keeps for one sample of this size, for planners.

        nnU-Net's unit is 4 bytes (see :class:`~nnunet_ext.networks.deformable_encoder.DeformableEncoder`): float32
        inputs of all layers, and logits before and after they are bounded.
        """
        return math.prod(size) * (self.depth * self.width + 2 * self.heads)

    def places_of(self, heads: int) -> Tensor:
        """Return where, in a vector of this head, the parameters of its first ``heads`` outputs stand.

        They are in the order of a vector of a head with as many outputs: to take a controller's rows to a head of
        another size, ``new[ours.places_of(n)] = old[theirs.places_of(n)]`` with n the smaller of the two.
        """
        numbers = torch.arange(self.parameter_count).split(self._lengths)
        last, bias = self.depth - 1, 2 * self.depth - 1
        kept = {last: numbers[last][: heads * self.width], bias: numbers[bias][:heads]}
        return torch.cat([kept.get(place, part) for place, part in enumerate(numbers)])


def bounded(logits: Tensor) -> Tensor:
    """Return logits whose magnitude stays below 110; those up to 60 are what they were.

    Beyond 60 they bend: 60 + 50 tanh((|x| - 60) / 50), with a continuous slope, strictly increasing.

    Why 110: nnU-Net adds windows in float16, which ends at 65504, each times a Gaussian that peaks at 10. The weights
    of a voxel add up to at most 80 at its step of half a patch, to 530 at a step of a tenth: 58,300. Sums over folds
    and mirrorings are smaller.
    """
    room = LIMIT - FREE
    free = logits.clamp(-FREE, FREE)
    return free + room * torch.tanh((logits - free) / room)
