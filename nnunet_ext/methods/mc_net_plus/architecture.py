"""MC-Net+: three decoders that differ in how they up-sample.

[0] Wu et al., Mutual consistency learning for semi-supervised medical image segmentation, Medical Image Analysis 81,
2022, https://doi.org/10.1016/j.media.2022.102530
[1] https://github.com/ycwu1997/MC-Net at fee453c (the authors' code; none of it is used here)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import Tensor, nn

from nnunet_ext.networks.upsampling_decoder import UpsamplingDecoder, decode


class MCNetPlusOutput(NamedTuple):
    """What :class:`MCNetPlus` returns in train mode.

    Args:
        logits: Those of each decoder, (B, K, D, H, W); the first decoder is the one that predicts.
    """

    logits: list[Tensor]


class MCNetPlus(nn.Module):
    """Mutual consistency network [0] over any plain or residual-encoder U-Net, 2d or 3d, any strides.

    Three decoders read the same encoder: by transposed convolution, linear resizing with a convolution, and nearest
    resizing with a convolution. Encoder and first decoder are the given network's own, with its state-dict names: in
    eval mode nothing else runs, and a plain U-Net can load them. The first decoder's deep-supervision heads below full
    resolution are not trained (no gradient).

    Differences from the authors' code: the first decoder's up-sampling has no normalization, as in nnU-Net; skips are
    concatenated and not added; kernels, strides, normalization and non-linearity are the plans'; in 2d it is the same
    network as in 3d.

    Args:
        unet: The network that the plans describe.
        dropout: Probability of dropping a channel of the bottleneck and of each decoder's last features.

    Raises:
        TypeError: ``unet`` is neither a PlainConvUNet nor a ResidualEncoderUNet.

    Example:
        >>> import torch
        >>> from dynamic_network_architectures.architectures.unet import PlainConvUNet
        >>> from torch import nn
        >>> from nnunet_ext import MCNetPlus
        >>> sizes = (1, 3, (8, 16, 32), nn.Conv3d, 3, (1, 2, 2), 1, 2, 1)  # what plans say of a U-Net
        >>> unet = PlainConvUNet(*sizes, norm_op=nn.InstanceNorm3d, nonlin=nn.LeakyReLU)
        >>> network = MCNetPlus(unet)
        >>> images = torch.randn(2, 1, 16, 16, 16)
        >>> [tuple(logits.shape) for logits in network.train()(images).logits]
        [(2, 2, 16, 16, 16), (2, 2, 16, 16, 16), (2, 2, 16, 16, 16)]
    """

    def __init__(self, unet: PlainConvUNet | ResidualEncoderUNet, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.further_decoders = nn.ModuleList([UpsamplingDecoder(unet, "linear"), UpsamplingDecoder(unet, "nearest")])
        self.encoder = unet.encoder
        self.decoder = unet.decoder
        for head in self.decoder.seg_layers[:-1]:
            head.requires_grad_(False)
        self.dropout = (nn.Dropout2d if unet.encoder.conv_op is nn.Conv2d else nn.Dropout3d)(dropout)
        # nnssl's pretrained encoders are matched by these names
        self.key_to_encoder, self.key_to_stem = unet.key_to_encoder, unet.key_to_stem
        self.keys_to_in_proj = unet.keys_to_in_proj

    def forward(self, x: Tensor) -> MCNetPlusOutput | Tensor | list[Tensor]:
        """Segment a batch.

        Args:
            x: Images (B, C, D, H, W) or (B, C, H, W).

        Returns:
            In eval mode what the first decoder returns: logits, or with ``decoder.deep_supervision`` their list over
            scales. In train mode a :class:`MCNetPlusOutput`.
        """
        skips = self.encoder(x)
        if not self.training:
            return self.decoder(skips)
        skips[-1] = self.dropout(skips[-1])
        decoders = (self.decoder, *self.further_decoders)
        return MCNetPlusOutput([decode(decoder, skips, self.dropout)[0] for decoder in decoders])

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> np.int64:
        """Return what training keeps for one sample of the given spatial size, in the unit of nnU-Net's planner.

        The unit is the output of a convolution, kept before and after its norm: two tensors in half precision. Dropout
        adds a tensor for each decoder, and the agreement keeps probabilities, plain and sharpened, in float32.
        """
        parts = (self.encoder, self.decoder, *self.further_decoders)
        total = sum((part.compute_conv_feature_map_size(input_size) for part in parts), np.int64(0))
        of_decoder = self.encoder.output_channels[0] + 4 * self.decoder.num_classes
        decoders = 1 + len(self.further_decoders)
        return total + decoders * of_decoder * np.prod(input_size, dtype=np.int64) // 2
