"""nnU-Net's trainer with CoTr's network."""

from __future__ import annotations

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_ext.base.knobs import resolve_for
from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.errors import UserError
from nnunet_ext.methods.cotr.architecture import CoTr
from nnunet_ext.networks.unet import planned_unet


class CoTrTrainer(ExtTrainer):
    """CoTr [0] on any nnU-Net plans of a plain or residual-encoder U-Net.

    Everything but the network is stock nnU-Net: loss, deep supervision at the plans' scales, SGD, 1000 epochs x 250
    steps, augmentation. The authors train with nnU-Net v1's, which are the same but for the scales.

    Knobs (plans block ``nnunet_ext.cotr``): ``levels``, ``width``, ``layers``, ``heads``, ``points``, ``dropout``.

    [0] Xie et al., CoTr, MICCAI 2021, https://arxiv.org/abs/2103.03024
    """

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Build the plans' U-Net and put the transformer between its encoder and decoder."""
        unet = planned_unet(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )
        try:
            return CoTr(unet, **resolve_for(plans_manager, configuration_manager)["cotr"])
        except ValueError as error:
            raise UserError(f"plans {plans_manager.plans_name!r}, knobs cotr.width and cotr.heads: {error}.") from error
