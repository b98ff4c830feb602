"""Run a U-Net's decoder step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder

    from nnunet_ext.networks.upsampling_decoder import UpsamplingDecoder


def decode(
    decoder: UNetDecoder | UpsamplingDecoder, skips: Sequence[Tensor], dropout: nn.Module
) -> tuple[Tensor, list[Tensor]]:
    """Return a decoder's full-resolution logits, and what its up-samplings gave before the skips joined.

    Args:
        decoder: nnU-Net's own, or ours of the same form.
        skips: Outputs of the encoder's stages, full resolution first, the bottleneck last.
        dropout: Acts on the last features, before the head.

    Returns:
        Logits (B, K, D, H, W); up-sampled features, full resolution first, each of its skip's shape.
    """
    features = skips[-1]
    upsampled: list[Tensor] = []
    for upsampling, stage, skip in zip(decoder.transpconvs, decoder.stages, skips[-2::-1], strict=True):
        raised = upsampling(features)
        upsampled.insert(0, raised)
        features = stage(torch.cat((raised, skip), 1))
    return decoder.seg_layers[-1](dropout(features)), upsampled
