"""nnU-Net's trainer with BA-Net's network and loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import nn

from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.methods.ba_net.architecture import BANet
from nnunet_ext.methods.ba_net.loss import IGNORED, BANetLoss, BoundaryLoss


class BANetTrainer(ExtTrainer):
    """BA-Net [0] on any nnU-Net plans of a plain or residual-encoder U-Net.

    Everything but network and loss is stock nnU-Net: SGD, 1000 epochs x 250 steps, augmentation, deep supervision. The
    boundary target is made on the device from the loader's target, so workers and data folders stay stock too.

    Knobs (plans block ``nnunet_ext.ba_net``): ``boundary_loss_weight``, ``boundary_width``, ``v1_decoder_kernels``.

    [0] Hu et al., Boundary-aware network for kidney parsing, KiPA22 challenge, MICCAI 2022
    """

    method: ClassVar = "ba_net"

    @classmethod
    def network_on(cls, unet: PlainConvUNet | ResidualEncoderUNet, knobs: Mapping[str, Any]) -> BANet:
        """Put the boundary decoder beside the U-Net's own."""
        return BANet(unet, decoder_kernel_sizes=unet.encoder.kernel_sizes[1:] if knobs["v1_decoder_kernels"] else None)

    def _build_loss(self) -> BANetLoss:
        knobs = self.knobs["ba_net"]
        segmentation = super()._build_loss()
        boundary: nn.Module = BoundaryLoss(
            self._boundary_dice_and_ce(),
            width=knobs["boundary_width"],
            highest_label=max(self.label_manager.all_labels) + 1,  # the ignore label, if any, is the next one
            ignore_label=self.label_manager.ignore_label,
            regions=self.label_manager.has_regions,
        )
        if isinstance(segmentation, DeepSupervisionWrapper):
            boundary = DeepSupervisionWrapper(boundary, segmentation.weight_factors)
        return BANetLoss(segmentation, boundary, knobs["boundary_loss_weight"])

    def _boundary_dice_and_ce(self) -> nn.Module:
        loss = DC_and_CE_loss(
            {"batch_dice": self.configuration_manager.batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": self.is_ddp},
            {},
            ignore_label=IGNORED if self.label_manager.has_ignore_label else None,
            dice_class=MemoryEfficientSoftDiceLoss,
        )
        if self._do_i_compile():
            loss.dc = torch.compile(loss.dc)
        return loss
