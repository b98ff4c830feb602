"""LeFeD: a U-Net with a second decoder, whose disagreement with the first is fed back to the encoder.

[0] Zeng et al., Consistency-guided differential decoding for enhancing semi-supervised medical image segmentation, IEEE
Transactions on Medical Imaging 44, 2025, https://doi.org/10.1109/TMI.2024.3429340, arXiv 2309.14819
[1] https://github.com/maxwell0027/LeFeD at ca980a2 (the authors' code, without a licence; none of it is used here)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn
from torch.nn import functional

from nnunet_ext.methods.lefed.card import MOST_CLASSES_AT_FULL_SIZE
from nnunet_ext.networks.upsampling_decoder import LOGIT, UpsamplingDecoder, decode


class Fed(NamedTuple):
    """Images together with the feedback of an earlier pass over them: what :class:`LeFeD` takes in train mode.

    Args:
        images: (B, C, D, H, W) or (B, C, H, W).
        feedback: For each stage of the encoder, full resolution first, what is added to its output: float32, of its
            shape. None adds nothing.
    """

    images: Tensor
    feedback: list[Tensor] | None = None

    def to(self, *where: Any, **options: Any) -> Fed:
        """Move images and feedback as ``Tensor.to`` does."""
        feedback = self.feedback
        moved = None if feedback is None else [level.to(*where, **options) for level in feedback]
        return Fed(self.images.to(*where, **options), moved)


class LeFeDOutput(NamedTuple):
    """What :class:`LeFeD` returns in train mode.

    Args:
        first: Logits of decoder 1, the one that predicts, (B, K, D, H, W).
        second: Logits of decoder 2, of the same shape.
        side: Logits of the side heads on the taps of decoder 1, each at its tap's size, full resolution first.
        feedback: For the next pass: see :class:`Fed`. Carries no gradient.
    """

    first: Tensor
    second: Tensor
    side: list[Tensor]
    feedback: list[Tensor]


class LeFeD(nn.Module):
    """Learning from the discrepancy of two decoders [0], over any plain or residual-encoder U-Net, 2d or 3d.

    *Taps* of a decoder are the bottleneck, as that decoder uses it, and the output of each up-sampling, before the skip
    joins: one for each stage of the encoder. Decoder 1 is ordinary. Decoder 2 up-samples by linear resizing and a
    convolution, and decoder 1's taps, detached, gate what it reads: a skip is multiplied by sigmoid(tap), the
    bottleneck by 1 + sigmoid(tap). In the next pass over the same images ``feedback_scale`` x (tap of decoder 2 - tap
    of decoder 1), detached, is added to the output of each stage, before the next stage and the skip read it.

    Encoder and decoder 1 are the given network's own, with its state-dict names: in eval mode nothing else runs, and a
    plain U-Net can load them. Its deep-supervision heads below full resolution are not trained (no gradient).

    Differences from the authors' code:

    * nnU-Net's up-sampling ends with the transposed convolution, without normalization. Decoder 1's taps are therefore
      its output after an instance norm without parameters and a ReLU, which only gate, feedback and side heads see.
      ``own_decoder`` gives decoder 1 up-sampling units like the authors', at the price of another state dict.
    * Skips are concatenated and not added; kernels, strides, normalization and non-linearity are the plans'.
    * The bottleneck's feedback is ``feedback_scale`` x E sigmoid(E) by construction, in theirs as in ours: it holds no
      disagreement.

    Args:
        unet: The network that the plans describe.
        own_decoder: Build a new decoder 1, of units that normalize, instead of using the network's own.
        dropout: Probability of dropping a channel of the bottleneck, and of either decoder's last features.
        feedback_scale: The authors use 1e-3.
        mean_of_decoders: Predict the mean of both decoders' logits, as the authors did until February 2024.
        side_at_full_size: Whether the loss compares side heads at the image's size, which counts for memory only; None:
            for up to 4 classes.

    Raises:
        TypeError: ``unet`` is neither a PlainConvUNet nor a ResidualEncoderUNet.

    Example:
        >>> import torch
        >>> from dynamic_network_architectures.architectures.unet import PlainConvUNet
        >>> from torch import nn
        >>> from nnunet_ext import LeFeD
        >>> sizes = (1, 3, (8, 16, 32), nn.Conv3d, 3, (1, 2, 2), 1, 2, 1)  # what plans say of a U-Net
        >>> unet = PlainConvUNet(*sizes, norm_op=nn.InstanceNorm3d, nonlin=nn.LeakyReLU)
        >>> from nnunet_ext.methods.lefed.architecture import Fed
        >>> network = LeFeD(unet)
        >>> images = torch.randn(2, 1, 16, 16, 16)
        >>> first_pass = network.train()(images)
        >>> second_pass = network(Fed(images, first_pass.feedback))
        >>> network.eval()(images).shape
        torch.Size([2, 2, 16, 16, 16])
    """

    def __init__(
        self,
        unet: PlainConvUNet | ResidualEncoderUNet,
        *,
        own_decoder: bool = False,
        dropout: tuple[float, float] = (0.3, 0.5),
        feedback_scale: float = 1e-3,
        mean_of_decoders: bool = False,
        side_at_full_size: bool | None = None,
    ) -> None:
        super().__init__()
        self.side_at_full_size = side_at_full_size
        self.second_decoder = UpsamplingDecoder(unet, "linear")
        self.encoder = unet.encoder
        self.decoder = UpsamplingDecoder(unet, "transposed") if own_decoder else unet.decoder
        for head in self.decoder.seg_layers[:-1]:
            head.requires_grad_(False)
        self.side = _SideHeads(unet)
        kind = nn.Dropout2d if unet.encoder.conv_op is nn.Conv2d else nn.Dropout3d
        self.bottleneck_dropout, self.head_dropout = (kind(probability) for probability in dropout)
        self.own_decoder = own_decoder
        self.feedback_scale = feedback_scale
        self.mean_of_decoders = mean_of_decoders
        # nnssl's pretrained encoders are matched by these names
        self.key_to_encoder, self.key_to_stem = unet.key_to_encoder, unet.key_to_stem
        self.keys_to_in_proj = unet.keys_to_in_proj

    def forward(self, x: Tensor | Fed) -> LeFeDOutput | Tensor | list[Tensor]:
        """Segment a batch.

        Args:
            x: Images (B, C, D, H, W) or (B, C, H, W); in train mode perhaps with feedback.

        Returns:
            In eval mode what decoder 1 returns: logits, or with ``decoder.deep_supervision`` their list over scales. In
            train mode a :class:`LeFeDOutput`.
        """
        images, feedback = x if isinstance(x, Fed) else Fed(x)
        if not self.training:
            if self.mean_of_decoders:
                output = self._pass(images, None)
                return (output.first + output.second) / 2
            return self.decoder(self.encoder(images))
        return self._pass(images, feedback)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> np.int64:
        """Return what training keeps for one sample of the given spatial size, in the unit of nnU-Net's planner.

        The unit is the output of a convolution, kept before and after its norm: two tensors in half precision. Each
        level adds a gate, a stage's output with feedback, decoder 1's up-sampling as its tap and before the tap's norm
        (one tensor each), and the feedback of this pass and of the one before, in float32. Dropout adds a tensor for
        each decoder's last features; side logits have a loss each.
        """
        total = self.encoder.compute_conv_feature_map_size(input_size)
        total += self.decoder.compute_conv_feature_map_size(input_size)
        total += self.second_decoder.compute_conv_feature_map_size(input_size)
        size, classes = list(input_size), self.second_decoder.classes
        total += self.encoder.output_channels[0] * np.prod(size, dtype=np.int64)
        at_full_size = self.side_at_full_size
        if at_full_size is None:
            at_full_size = classes <= MOST_CLASSES_AT_FULL_SIZE
        of_level = 6 if self.own_decoder else 8  # tensors in half precision
        for channels, stride in zip(self.encoder.output_channels, self.encoder.strides, strict=True):
            size = [length // step for length, step in zip(size, stride, strict=True)]
            total += of_level * channels * np.prod(size, dtype=np.int64) // 2
            compared = input_size if at_full_size else size
            total += LOGIT * classes * np.prod(compared, dtype=np.int64)
        return total

    def _pass(self, images: Tensor, feedback: Sequence[Tensor] | None) -> LeFeDOutput:
        skips = self._encode(images, feedback)
        skips[-1] = self.bottleneck_dropout(skips[-1])
        first, upsampled = decode(self.decoder, skips, self.head_dropout)
        if not self.own_decoder:
            upsampled = [functional.relu(functional.instance_norm(level)) for level in upsampled]
        taps = [*upsampled, skips[-1]]
        gates = [tap.detach().sigmoid() for tap in taps]
        gates[-1] = 1 + gates[-1]
        gated = [skip * gate for skip, gate in zip(skips, gates, strict=True)]
        second, upsampled = decode(self.second_decoder, gated, self.head_dropout)
        return LeFeDOutput(first, second, self.side(taps), self._feedback(taps, [*upsampled, gated[-1]]))

    def _encode(self, images: Tensor, feedback: Sequence[Tensor] | None) -> list[Tensor]:
        """Return the outputs of the encoder's stages, each with its feedback added in float32."""
        stem = getattr(self.encoder, "stem", None)
        x = images if stem is None else stem(images)
        skips = []
        for level, stage in enumerate(self.encoder.stages):
            x = stage(x)
            if feedback is not None:
                x = (x.float() + feedback[level]).to(x.dtype)
            skips.append(x)
        return skips

    @torch.no_grad()
    def _feedback(self, taps: Sequence[Tensor], of_second: Sequence[Tensor]) -> list[Tensor]:
        return [
            self.feedback_scale * (second.float() - first.float())
            for first, second in zip(taps, of_second, strict=True)
        ]


class _SideHeads(nn.Module):
    """One 1x1 head for each tap; named seg_layers, which nnU-Net treats as class-dependent."""

    def __init__(self, unet: PlainConvUNet | ResidualEncoderUNet) -> None:
        super().__init__()
        encoder, classes = unet.encoder, unet.decoder.num_classes
        self.seg_layers = nn.ModuleList(encoder.conv_op(channels, classes, 1) for channels in encoder.output_channels)
        self.apply(InitWeights_He(1e-2))

    def forward(self, taps: Sequence[Tensor]) -> list[Tensor]:
        return [head(tap) for head, tap in zip(self.seg_layers, taps, strict=True)]
