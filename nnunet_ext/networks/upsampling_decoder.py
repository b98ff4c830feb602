"""A decoder of a U-Net's form whose up-sampling units can be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.helper import get_matching_convtransp
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn
from torch.nn import functional

from nnunet_ext.networks.unet import decoder_like

if TYPE_CHECKING:
    from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder

# What a loss keeps of a logit, in the unit of nnU-Net's planner: softmax and log-softmax in float32, and more.
LOGIT = 3


class UpsamplingDecoder(nn.Module):
    """Decoder with the stages of a U-Net's own, one head at full resolution, and up-sampling units of a given kind.

    A unit ends with the plans' normalization and non-linearity, where nnU-Net's own up-sampling ends with a transposed
    convolution. Resizing goes by the plans' strides, so an axis of stride 1 stays as it is; the convolution after it
    has the kernel of the stage that it arrives at. Parts have the names that nnU-Net's decoder gives them.

    Args:
        unet: The network that the plans describe.
        upsampling: "transposed" convolution; "linear" (corners aligned) or "nearest" resizing, then a convolution.

    Raises:
        TypeError: ``unet`` is neither a PlainConvUNet nor a ResidualEncoderUNet.
    """

    def __init__(
        self, unet: PlainConvUNet | ResidualEncoderUNet, upsampling: Literal["transposed", "linear", "nearest"]
    ) -> None:
        super().__init__()
        own = decoder_like(unet)
        self.deep_supervision = False  # nnU-Net's switch; there is one scale
        self.stages = own.stages
        self.transpconvs = nn.ModuleList(
            _unit(unet.encoder, level, upsampling) for level in reversed(range(len(own.stages)))
        )
        self.seg_layers = nn.ModuleList([own.seg_layers[-1]])
        self.classes = own.num_classes
        self.strides = unet.encoder.strides[:-1]
        channels = list(reversed(unet.encoder.output_channels))
        self._kept_twice = [
            4 * arriving + (0 if upsampling == "transposed" else below) for below, arriving in pairwise(channels)
        ]
        self.apply(InitWeights_He(1e-2))

    def forward(self, skips: Sequence[Tensor]) -> Tensor:
        """Return logits (B, K, D, H, W) from the outputs of the encoder's stages, full resolution first."""
        return decode(self, skips, nn.Identity())[0]

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> np.int64:
        """Return what training keeps for one sample whose image has the given size, in the unit of nnU-Net's planner.

        The unit is the output of a convolution, kept before and after its norm: two tensors. A unit of up-sampling
        keeps what it resized, its convolution's output before and after the norm, and the concatenation with the skip.
        Logits have a loss of their own (:data:`LOGIT`).
        """
        sizes, size = [], list(input_size)
        for stride in self.strides:
            size = [length // step for length, step in zip(size, stride, strict=True)]
            sizes.append(size)
        total = np.prod([LOGIT, self.classes, *sizes[0]], dtype=np.int64)
        for stage, kept_twice, size in zip(self.stages, self._kept_twice, reversed(sizes), strict=True):
            total += stage.compute_conv_feature_map_size(size) + np.prod([kept_twice, *size], dtype=np.int64) // 2
        return total


class _Resize(nn.Module):
    """Resizes by a stride."""

    def __init__(self, stride: Sequence[int], *, linear: bool) -> None:
        super().__init__()
        self.stride = tuple(stride)
        self.mode = ("linear", "bilinear", "trilinear")[len(self.stride) - 1] if linear else "nearest"

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, d D, h H, w W) for a stride (d, h, w)."""
        size = [length * step for length, step in zip(x.shape[2:], self.stride, strict=True)]
        corners = None if self.mode == "nearest" else True
        return functional.interpolate(x, size=size, mode=self.mode, align_corners=corners)


def _unit(encoder: Any, level: int, upsampling: str) -> nn.Module:
    """Return the unit that arrives at a level of the encoder, 0 at full resolution."""
    below, channels = encoder.output_channels[level + 1], encoder.output_channels[level]
    stride = encoder.strides[level + 1]
    if upsampling == "transposed":
        transposed = get_matching_convtransp(conv_op=encoder.conv_op)
        parts = [transposed(below, channels, stride, stride, bias=encoder.conv_bias)]
        if encoder.norm_op is not None:
            parts.append(encoder.norm_op(channels, **(encoder.norm_op_kwargs or {})))
        return nn.Sequential(*parts, encoder.nonlin(**(encoder.nonlin_kwargs or {})))
    convolution = ConvDropoutNormReLU(
        encoder.conv_op,
        below,
        channels,
        encoder.kernel_sizes[level],
        1,
        encoder.conv_bias,
        encoder.norm_op,
        encoder.norm_op_kwargs,
        nonlin=encoder.nonlin,
        nonlin_kwargs=encoder.nonlin_kwargs,
    )
    return nn.Sequential(_Resize(stride, linear=upsampling == "linear"), convolution)


def decode(
    decoder: UNetDecoder | UpsamplingDecoder, skips: Sequence[Tensor], dropout: nn.Module
) -> tuple[Tensor, list[Tensor]]:
    """Return a decoder's full-resolution logits, and the outputs of its up-samplings before the skips joined.

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
