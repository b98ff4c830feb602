"""CoTr: a U-Net whose coarsest features pass through a deformable transformer before they are decoded.

[0] Xie et al., CoTr: efficiently bridging CNN and transformer for 3D medical image segmentation, MICCAI 2021,
https://arxiv.org/abs/2103.03024
[1] https://github.com/YtongXie/CoTr at 521b4cc (the authors' code, on nnU-Net v1; none of it is used here)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.helper import convert_conv_op_to_dim
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn

from nnunet_ext.networks.deformable_encoder import DeformableEncoder
from nnunet_ext.networks.unet import check_unet


class CoTr(nn.Module):
    """CNN and transformer [0] over any plain or residual-encoder U-Net, 2d or 3d, any strides.

    The voxels of the encoder's coarsest levels, bottleneck included, are the tokens of a deformable transformer (the
    authors' DeTrans: GELU, feed-forward part of 4 x ``width``). Its output replaces these features on their way to the
    decoder, as bottleneck and as skips; finer skips come from the encoder.

    Encoder and decoder are the given network's own, with their state-dict names, so stock weights fit.

    Differences from the authors' code: their encoder (7x7x7 stem, single-convolution residual blocks) and decoder
    (skips by addition) are the plans' here, so channels of levels may differ from ``width`` and from one another (1x1
    convolutions lead in and out; none where they are equal); deep supervision is at the plans' scales; reference points
    and offsets are (x, y, z), as sampling reads them (theirs: (z, x, y), so that no query starts at its own voxel); the
    channels of a position pair up sine and cosine of one frequency (theirs: two of three pairs); heads start in
    distinct directions, both ways along each axis (theirs: never against the third; see :func:`head_directions`);
    the transformer's weights start Xavier-normal and its biases at 0 (theirs: Xavier-uniform, feed-forward biases as
    torch makes them).

    Args:
        unet: The network that the plans describe.
        levels: Coarsest levels that the transformer works on, full resolution never among them.
        width: Channels of the transformer; by default those of the bottleneck, rounded up to 16 per head.
        layers: Layers of the transformer.
        heads: Heads of its attention.
        points: Points that a head samples in each level.
        dropout: Probability, in the transformer.

    Raises:
        TypeError: ``unet`` is neither a PlainConvUNet nor a ResidualEncoderUNet.
        ValueError: ``width`` cannot be divided by ``heads``.

    Example:
        >>> import torch
        >>> from dynamic_network_architectures.architectures.unet import PlainConvUNet
        >>> from torch import nn
        >>> from nnunet_ext import CoTr
        >>> sizes = (1, 3, (8, 16, 32), nn.Conv3d, 3, (1, 2, 2), 1, 2, 1)  # what plans say of a U-Net
        >>> unet = PlainConvUNet(*sizes, norm_op=nn.InstanceNorm3d, nonlin=nn.LeakyReLU)
        >>> network = CoTr(unet, levels=2, width=24, layers=1)
        >>> images = torch.randn(2, 1, 16, 16, 16)
        >>> network(images).shape
        torch.Size([2, 2, 16, 16, 16])
    """

    def __init__(
        self,
        unet: PlainConvUNet | ResidualEncoderUNet,
        *,
        levels: int = 2,
        width: int | None = None,
        layers: int = 6,
        heads: int = 6,
        points: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_unet(unet)
        self.encoder, self.decoder = unet.encoder, unet.decoder
        channels = self.encoder.output_channels
        channels = channels[-max(1, min(levels, len(channels) - 1)) :]
        width = width or -(-channels[-1] // (16 * heads)) * 16 * heads
        convolution = self.encoder.conv_op
        self.into = nn.ModuleList(convolution(c, width, 1) if c != width else nn.Identity() for c in channels)
        self.transformer = DeformableEncoder(
            width,
            layers=layers,
            levels=len(channels),
            heads=heads,
            points=points,
            hidden=4 * width,
            dims=convert_conv_op_to_dim(convolution),
            dropout=dropout,
        )
        self.out_of = nn.ModuleList(convolution(width, c, 1) if c != width else nn.Identity() for c in channels)
        for projections in (self.into, self.out_of):
            projections.apply(InitWeights_He(1e-2))
        # nnssl's pretrained encoders are matched by these names
        self.key_to_encoder, self.key_to_stem = unet.key_to_encoder, unet.key_to_stem
        self.keys_to_in_proj = unet.keys_to_in_proj

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Segment a batch.

        Args:
            x: Images (B, C, D, H, W) or (B, C, H, W).

        Returns:
            What a stock network returns: logits, or with ``decoder.deep_supervision`` their list over scales.
        """
        skips = self.encoder(x)
        levels = len(self.into)
        tokens = self.transformer([into(skip) for into, skip in zip(self.into, skips[-levels:], strict=True)])
        transformed = [out_of(level) for out_of, level in zip(self.out_of, tokens, strict=True)]
        return self.decoder([*skips[:-levels], *transformed])

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> np.int64:
        """Return the elements of all convolution outputs of one sample, the transformer's too, for the planner."""
        sizes, size = [], list(input_size)
        for strides in self.encoder.strides:
            size = [length // step for length, step in zip(size, strides, strict=True)]
            sizes.append(tuple(size))
        sizes = sizes[-len(self.into) :]
        total = self.encoder.compute_conv_feature_map_size(input_size)
        total += self.decoder.compute_conv_feature_map_size(input_size)
        total += self.transformer.compute_conv_feature_map_size(sizes)
        width = self.transformer.level_embedding.shape[1]
        for channels, level in zip(self.encoder.output_channels[-len(sizes) :], sizes, strict=True):
            if channels != width:
                total += (channels + width) * np.prod(level, dtype=np.int64)
        return total
