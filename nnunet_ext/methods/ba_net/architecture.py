"""BA-Net: a U-Net whose second decoder finds boundaries and gates the first.

[0] Hu et al., Boundary-aware network for kidney parsing, KiPA22 challenge, MICCAI 2022
[1] https://github.com/ShishuaiHu/BA-Net (the authors' code, on nnU-Net v1; none of it is used here)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn

from nnunet_ext.networks.unet import decoder_like

BOUNDARY_CLASSES = 2  # background, boundary: one boundary for all classes together


class BANetOutput(NamedTuple):
    """What :class:`BANet` returns in train mode: two lists over scales (full resolution first), or two tensors.

    Args:
        segmentation: Logits (B, K, D, H, W).
        boundary: Logits (B, 2, D, H, W); channel 1 is boundary.
    """

    segmentation: Tensor | list[Tensor]
    boundary: Tensor | list[Tensor]


class BANet(nn.Module):
    """Boundary-aware network [0] over any plain or residual-encoder U-Net, 2d or 3d, any strides.

    Two decoders of equal form start at the bottleneck and read the same skips. In each stage the boundary decoder's
    1x1 head (2 channels, no bias) comes first; its boundary probability p, not detached, multiplies the segmentation
    decoder's upsampled features by 1 + p, just before the skip is concatenated.

    Encoder and segmentation decoder are the given network's own, with their state-dict names, so stock weights fit.

    Differences from the authors' code: decoder kernels and biases are those of the plans (nnU-Net v2), not v1's,
    unless ``decoder_kernel_sizes`` says otherwise; the boundary maps are returned rather than left in an attribute,
    which keeps DDP and torch.compile working.

    Args:
        unet: The network that the plans describe.
        decoder_kernel_sizes: Kernel size of each decoder stage, full resolution first; the encoder's by default.

    Raises:
        TypeError: ``unet`` is neither a PlainConvUNet nor a ResidualEncoderUNet.
        ValueError: ``decoder_kernel_sizes`` does not have one entry for each decoder stage.

    Example:
        >>> import torch
        >>> from dynamic_network_architectures.architectures.unet import PlainConvUNet
        >>> from torch import nn
        >>> from nnunet_ext import BANet
        >>> sizes = (1, 3, (8, 16, 32), nn.Conv3d, 3, (1, 2, 2), 1, 2, 1)  # what plans say of a U-Net
        >>> unet = PlainConvUNet(*sizes, norm_op=nn.InstanceNorm3d, nonlin=nn.LeakyReLU)
        >>> network = BANet(unet)
        >>> images = torch.randn(2, 1, 16, 16, 16)
        >>> network.train()(images).boundary.shape  # of 2 logits each: boundary or not
        torch.Size([2, 2, 16, 16, 16])
        >>> network.eval()(images).shape
        torch.Size([2, 2, 16, 16, 16])
    """

    def __init__(
        self,
        unet: PlainConvUNet | ResidualEncoderUNet,
        *,
        decoder_kernel_sizes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        boundary_decoder = decoder_like(unet, BOUNDARY_CLASSES, decoder_kernel_sizes)
        self.encoder = unet.encoder
        self.decoder = unet.decoder
        if decoder_kernel_sizes is not None:
            self.decoder = decoder_like(unet, unet.decoder.num_classes, decoder_kernel_sizes)
            self.decoder.apply(InitWeights_He(1e-2))
        self.boundary_decoder = boundary_decoder
        # not named seg_layers, which nnU-Net treats as class-dependent and leaves out of -pretrained_weights
        del self.boundary_decoder.seg_layers
        self.boundary_decoder.boundary_layers = nn.ModuleList(
            self.encoder.conv_op(features, BOUNDARY_CLASSES, 1, bias=False)
            for features in reversed(self.encoder.output_channels[:-1])
        )
        for part in (
            self.boundary_decoder.stages,
            self.boundary_decoder.transpconvs,
            self.boundary_decoder.boundary_layers,
        ):
            part.apply(InitWeights_He(1e-2))
        # nnssl's pretrained encoders are matched by these names
        self.key_to_encoder, self.key_to_stem = unet.key_to_encoder, unet.key_to_stem
        self.keys_to_in_proj = unet.keys_to_in_proj

    def forward(self, x: Tensor) -> BANetOutput | Tensor | list[Tensor]:
        """Segment a batch.

        Args:
            x: Images (B, C, D, H, W) or (B, C, H, W).

        Returns:
            In eval mode what a stock network returns: segmentation logits, or with ``decoder.deep_supervision`` their
            list over scales. In train mode a :class:`BANetOutput`.
        """
        deep_supervision = self.decoder.deep_supervision
        skips = self.encoder(x)
        segmentation = boundary = skips[-1]
        segmentation_logits: list[Tensor] = []
        boundary_logits: list[Tensor] = []
        last = len(skips) - 2
        for stage, skip in enumerate(reversed(skips[:-1])):
            upsampled = self.boundary_decoder.transpconvs[stage](boundary)
            boundary = self.boundary_decoder.stages[stage](torch.cat((upsampled, skip), 1))
            logits = self.boundary_decoder.boundary_layers[stage](boundary)
            gate = 1 + logits.softmax(1)[:, 1:]
            upsampled = self.decoder.transpconvs[stage](segmentation)
            upsampled = upsampled * gate.to(upsampled.dtype)
            segmentation = self.decoder.stages[stage](torch.cat((upsampled, skip), 1))
            if deep_supervision or stage == last:
                segmentation_logits.insert(0, self.decoder.seg_layers[stage](segmentation))
                boundary_logits.insert(0, logits)
        if self.training:
            if deep_supervision:
                return BANetOutput(segmentation_logits, boundary_logits)
            return BANetOutput(segmentation_logits[0], boundary_logits[0])
        return segmentation_logits if deep_supervision else segmentation_logits[0]

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> np.int64:
        """Return what training keeps for one sample of the given spatial size, in the unit of nnU-Net's planner.

        The unit is the output of a convolution, kept before and after its norm. The gate keeps one tensor of the size
        of what it multiplies, itself, and the boundary's probabilities in float32.
        """
        stages = len(self.decoder.stages)
        sizes, size = [], list(input_size)
        for stride in self.encoder.strides[:stages]:
            size = [length // step for length, step in zip(size, stride, strict=True)]
            sizes.append(size)
        total = self.encoder.compute_conv_feature_map_size(input_size)
        total += self.decoder.compute_conv_feature_map_size(input_size)
        for stage, size in enumerate(reversed(sizes)):
            voxels = np.prod(size, dtype=np.int64)
            total += self.boundary_decoder.stages[stage].compute_conv_feature_map_size(size)
            channels = self.encoder.output_channels[stages - 1 - stage]
            total += voxels * (2 * (channels + BOUNDARY_CLASSES) + channels + 1 + 2 * BOUNDARY_CLASSES) // 2
        return total
