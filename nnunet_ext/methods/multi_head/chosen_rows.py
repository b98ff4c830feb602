"""A final 1x1x1 convolution of which only chosen outputs are computed."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChosenRows(nn.Module):
    """The weights of a 1x1x1 convolution with an output for every class of every task; a sample needs those of one.

    It is in the decoder under the convolution's name, so the state dict is the same. There it passes the features on,
    and :meth:`choose` turns them into the logits that are needed.

    Args:
        conv: The convolution, with bias; its parameters are reused.
    """

    def __init__(self, conv: nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        assert conv.bias is not None
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, features: Tensor) -> Tensor:
        """Return the features as they are."""
        return features

    def choose(self, features: Tensor, rows: Tensor) -> Tensor:
        """Return logits (B, K, D, H, W) of features (B, C, D, H, W).

        Args:
            features: The features.
            rows: (B, K), which outputs each sample needs.
        """
        weight, bias = self.weight.flatten(1)[rows], self.bias[rows].unsqueeze(2)
        return torch.baddbmm(bias, weight, features.flatten(2)).unflatten(2, features.shape[2:])
