"""The semi-supervised trainer with MC-Net+'s network and loss."""

from __future__ import annotations

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_ext.base.knobs import resolve_for
from nnunet_ext.methods.mc_net_plus.architecture import MCNetPlus
from nnunet_ext.methods.mc_net_plus.loss import MCNetPlusLoss
from nnunet_ext.networks.channel_dropout import channel_dropout
from nnunet_ext.networks.unet import planned_unet
from nnunet_ext.semi_supervised.trainer import SemiSupervisedTrainer


class MCNetPlusTrainer(SemiSupervisedTrainer):
    """MC-Net+ [0]: three decoders that shall agree, each with the sharpened output of every other.

    The weight of the agreement grows over the first 40 % of the training (knob ``unlabelled.ramp``), as the authors'
    does. nnU-Net's deep supervision is off: no decoder has it in the paper.

    Avoided: the sharpening for two classes only; a 2d Dice without the factor 2; pseudo-labels that carry gradients
    (``detach``); consistency on the CPU; best checkpoint chosen on the test set.

    What differs from the authors: nnU-Net's Dice + cross-entropy (theirs is Dice alone), SGD with polynomial decay
    (theirs is constant), augmentation and patches; the ramp grows with every step and not every 150. Networks
    of fewer than 16 features at full resolution, such as Lite's, drop no channels.

    Knobs (plans block ``nnunet_ext.mc_net_plus``): ``supervised_weight``, ``consistency_weight``, ``temperature``,
    ``dropout``, ``detach``.

    Raises:
        UserError: Plans of another network.

    [0] Wu et al., Medical Image Analysis 81, 2022, https://doi.org/10.1016/j.media.2022.102530
    """

    loss_parts = ("supervised_loss", "consistency_loss")

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Build the plans' U-Net and put two further decoders beside its decoder."""
        unet = planned_unet(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )
        knobs = resolve_for(plans_manager, configuration_manager)["mc_net_plus"]
        return MCNetPlus(unet, dropout=channel_dropout(knobs["dropout"], 0.5, unet))

    def initialize(self) -> None:
        """Prepare as stock does, without deep supervision."""
        self.enable_deep_supervision = False
        super().initialize()

    def train_step(self, batch: dict) -> dict:
        """Take a stock step with this step's weight of the agreement."""
        self.loss.ramp = self.ramped(batch["step"])
        return super().train_step(batch)

    def _build_loss(self) -> MCNetPlusLoss:
        knobs = self.knobs["mc_net_plus"]
        return MCNetPlusLoss(
            super()._build_loss(),
            regions=self.label_manager.has_regions,
            supervised_weight=knobs["supervised_weight"],
            consistency_weight=knobs["consistency_weight"],
            temperature=knobs["temperature"],
            detach=knobs["detach"],
        )
