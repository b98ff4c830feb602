"""A U-Net with the opinion of each rater beside the consensus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn

from nnunet_ext.methods.raters.preference_heads import Opinions, PreferenceHeads

OF_LOSS = 4  # what Dice and cross-entropy keep of a logit: softmax, its logarithm, the one-hot target, products


class RaterOutput(NamedTuple):
    """What :class:`RaterUNet` returns in train mode.

    Args:
        consensus: Logits (B, K, D, H, W), or their list over scales, full resolution first.
        raters: The same of each rater; empty with ``opinions``.
        opinions: What PADL's heads say at full resolution; None without them.
    """

    consensus: Tensor | list[Tensor]
    raters: list[Tensor | list[Tensor]]
    opinions: Opinions | None


class RaterHeads(nn.Module):
    """The segmentation heads of one rater; nnU-Net leaves ``seg_layers`` out of pretrained weights.

    Args:
        unet: The network whose heads they resemble.
    """

    def __init__(self, unet: PlainConvUNet | ResidualEncoderUNet) -> None:
        super().__init__()
        heads = [(head.in_channels, head.out_channels) for head in unet.decoder.seg_layers]
        self.seg_layers = nn.ModuleList(unet.encoder.conv_op(*sizes, 1, bias=True) for sizes in heads)
        self.seg_layers.apply(InitWeights_He(1e-2))


class RaterUNet(nn.Module):
    """A plain or residual-encoder U-Net, 2d or 3d, whose own heads give the consensus, with further heads for raters.

    Encoder and decoder are the given network's own, with their names in the state dict, so stock weights fit.

    Args:
        unet: The network that the plans describe.
        raters: Number of raters.
        preferences: Heads of PADL at full resolution instead of a plain head for each rater and scale.
        regions: The outputs are regions and not classes that exclude each other.

    Example:
        >>> import torch
        >>> from dynamic_network_architectures.architectures.unet import PlainConvUNet
        >>> from torch import nn
        >>> sizes = (1, 3, (8, 16, 32), nn.Conv3d, 3, (1, 2, 2), 1, 2, 1)  # what plans say of a U-Net
        >>> network = RaterUNet(PlainConvUNet(*sizes, norm_op=nn.InstanceNorm3d, nonlin=nn.LeakyReLU), raters=3)
        >>> images = torch.randn(2, 1, 16, 16, 16)
        >>> len(network.train()(images).raters)
        3
        >>> network.eval()(images).shape
        torch.Size([2, 2, 16, 16, 16])
    """

    def __init__(
        self,
        unet: PlainConvUNet | ResidualEncoderUNet,
        raters: int,
        *,
        preferences: bool = False,
        regions: bool = False,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = unet.encoder, unet.decoder
        self.preferences = preferences
        self.rater: int | None = None  # whose opinion eval mode returns; None: the consensus
        if preferences:
            last = unet.decoder.seg_layers[-1]
            sizes = last.in_channels, last.out_channels
            self.preference_heads = PreferenceHeads(unet.encoder.conv_op, *sizes, raters, regions=regions)
        else:
            self.rater_heads = nn.ModuleList(RaterHeads(unet) for _ in range(raters))
        self.key_to_encoder, self.key_to_stem = unet.key_to_encoder, unet.key_to_stem
        self.keys_to_in_proj = unet.keys_to_in_proj

    def forward(self, x: Tensor) -> RaterOutput | Tensor | list[Tensor]:
        """Segment a batch.

        Args:
            x: Images (B, C, D, H, W) or (B, C, H, W).

        Returns:
            In eval mode the logits of the consensus, or of the rater that ``rater`` names; with
            ``decoder.deep_supervision`` their list over scales. In train mode a :class:`RaterOutput`.
        """
        features = self._features(x)
        consensus = self._logits(features, self.decoder.seg_layers)
        if self.training:
            if self.preferences:
                mean = consensus[0] if isinstance(consensus, list) else consensus
                return RaterOutput(consensus, [], self.preference_heads(features[-1], mean))
            raters = [self._logits(features, heads.seg_layers) for heads in self.rater_heads]
            return RaterOutput(consensus, raters, None)
        if self.rater is None:
            return consensus
        if not self.preferences:
            return self._logits(features, self.rater_heads[self.rater].seg_layers)
        mean = consensus[0] if isinstance(consensus, list) else consensus
        drawn = self.preference_heads(features[-1], mean).raters[self.rater]
        return [drawn, *consensus[1:]] if isinstance(consensus, list) else drawn

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> np.int64:
        """Return what training keeps for one sample of the given spatial size, in the unit of nnU-Net's planner."""
        total = self.encoder.compute_conv_feature_map_size(input_size)
        total += self.decoder.compute_conv_feature_map_size(input_size)
        size, sizes = list(input_size), []
        for stride in self.encoder.strides[: len(self.decoder.stages)]:
            size = [length // step for length, step in zip(size, stride, strict=True)]
            sizes.append(np.prod(size, dtype=np.int64))
        if self.preferences:
            return total + self.preference_heads.kept_channels * sizes[0]
        channels = OF_LOSS * self.decoder.seg_layers[-1].out_channels * len(self.rater_heads)
        return total + channels * sum(sizes if self.decoder.deep_supervision else sizes[:1])

    def _features(self, x: Tensor) -> list[Tensor]:
        """The output of each stage of the decoder, full resolution last."""
        skips = self.encoder(x)
        here, found = skips[-1], []
        for transposed, stage, skip in zip(
            self.decoder.transpconvs, self.decoder.stages, reversed(skips[:-1]), strict=True
        ):
            here = stage(torch.cat((transposed(here), skip), 1))
            found.append(here)
        return found

    def _logits(self, features: list[Tensor], heads: Any) -> Tensor | list[Tensor]:
        if not self.decoder.deep_supervision:
            return heads[-1](features[-1])
        return [head(stage) for head, stage in zip(heads, features, strict=True)][::-1]
