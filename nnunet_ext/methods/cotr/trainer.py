"""nnU-Net's trainer with CoTr's network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet

from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.methods.cotr.architecture import CoTr


class CoTrTrainer(ExtTrainer):
    """CoTr [0] on any nnU-Net plans of a plain or residual-encoder U-Net.

    Everything but the network is stock nnU-Net: loss, deep supervision at the plans' scales, SGD, 1000 epochs x 250
    steps, augmentation. The authors train with nnU-Net v1's, which are the same except for the scales.

    Knobs (plans block ``nnunet_ext.cotr``): ``levels``, ``width``, ``layers``, ``heads``, ``points``, ``dropout``.

    [0] Xie et al., CoTr, MICCAI 2021, https://arxiv.org/abs/2103.03024
    """

    method: ClassVar = "cotr"

    @classmethod
    def network_on(cls, unet: PlainConvUNet | ResidualEncoderUNet, knobs: Mapping[str, Any]) -> CoTr:
        """Put the transformer between the U-Net's encoder and decoder."""
        return CoTr(unet, **knobs)
