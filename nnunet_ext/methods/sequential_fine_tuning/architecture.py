"""A U-Net that shows the features of its stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import Tensor, nn

from nnunet_ext.networks.unet import check_unet


class Features(NamedTuple):
    """What :class:`FeatureUNet` returns in train mode.

    Args:
        stages: Output of each stage (B, C, D, H, W): of the encoder from full resolution down, then of the decoder from
            the lowest resolution up.
    """

    stages: list[Tensor]


class FeatureUNet(nn.Module):
    """A plain or residual-encoder U-Net that returns the outputs of its stages in train mode; its heads are frozen.

    Encoder, decoder and all names in the state dict are those of the given network, so that their checkpoints are
    alike; in eval mode it returns the same logits.

    Args:
        unet: The network that the plans describe.

    Raises:
        TypeError: It is neither a PlainConvUNet nor a ResidualEncoderUNet.

    Example:
        >>> import torch
        >>> from dynamic_network_architectures.architectures.unet import PlainConvUNet
        >>> from torch import nn
        >>> from nnunet_ext.methods.sequential_fine_tuning.architecture import FeatureUNet
        >>> network = FeatureUNet(PlainConvUNet(1, 3, (8, 16, 32), nn.Conv3d, 3, (1, 2, 2), 1, 2, 1))
        >>> [tuple(features.shape[1:]) for features in network.train()(torch.randn(1, 1, 8, 8, 8)).stages]
        [(8, 8, 8, 8), (16, 4, 4, 4), (32, 2, 2, 2), (16, 4, 4, 4), (8, 8, 8, 8)]
        >>> network.eval()(torch.randn(1, 1, 8, 8, 8)).shape
        torch.Size([1, 2, 8, 8, 8])
    """

    def __init__(self, unet: PlainConvUNet | ResidualEncoderUNet) -> None:
        super().__init__()
        check_unet(unet)
        self.encoder = unet.encoder
        self.decoder = unet.decoder
        self.decoder.seg_layers.requires_grad_(False)
        # nnssl's pretrained encoders are matched by these names
        self.key_to_encoder, self.key_to_stem = unet.key_to_encoder, unet.key_to_stem
        self.keys_to_in_proj = unet.keys_to_in_proj

    def forward(self, x: Tensor) -> Features | Tensor | list[Tensor]:
        """Return features in train mode, in eval mode what a stock network returns.

        Args:
            x: Images (B, C, D, H, W) or (B, C, H, W).
        """
        if self.training:
            return Features(self.features(x))
        logits: Tensor | list[Tensor] = self.decoder(self.encoder(x))
        return logits

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the output of each stage, in either mode; no head runs."""
        skips = self.encoder(x)
        found, below = list(skips), skips[-1]
        for level, stage in enumerate(self.decoder.stages):
            raised = self.decoder.transpconvs[level](below)
            below = stage(torch.cat((raised, skips[-(level + 2)]), 1))
            found.append(below)
        return found

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> np.int64:
        """Return what training keeps for one sample of the given spatial size, in the unit of nnU-Net's planner.

        The unit is the output of a convolution, kept before and after its norm: two tensors in half precision. The loss
        keeps a difference of the size of each stage's output, in float32; heads do not run. The two models that it
        compares with are not counted: they keep nothing.
        """
        parts = (self.encoder, self.decoder)
        total = sum((part.compute_conv_feature_map_size(input_size) for part in parts), np.int64(0))
        size, bottleneck = list(input_size), len(self.encoder.strides) - 1
        for level, (channels, stride) in enumerate(
            zip(self.encoder.output_channels, self.encoder.strides, strict=True)
        ):
            size = [length // step for length, step in zip(size, stride, strict=True)]
            voxels = np.prod(size, dtype=np.int64)
            total += voxels * (channels if level == bottleneck else 2 * channels)
            if level == 0 or (self.decoder.deep_supervision and level < bottleneck):
                total -= voxels * self.decoder.num_classes
        return total
