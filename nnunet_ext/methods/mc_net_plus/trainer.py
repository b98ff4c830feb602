"""The semi-supervised trainer with MC-Net+'s network and loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet

from nnunet_ext.methods.mc_net_plus.architecture import MCNetPlus
from nnunet_ext.methods.mc_net_plus.loss import MCNetPlusLoss, MCNetPlusStep
from nnunet_ext.networks.channel_dropout import channel_dropout
from nnunet_ext.semi_supervised.trainer import SemiSupervisedTrainer


class MCNetPlusTrainer(SemiSupervisedTrainer):
    """MC-Net+ [0]: three decoders trained to agree, each with the sharpened output of every other.

    The weight of the agreement grows over the first 40 % of the training (knob ``unlabelled.ramp``), as the authors'
    does. nnU-Net's deep supervision is off: no decoder has it in the paper.

    Not reproduced: the sharpening for two classes only; a 2d Dice without the factor 2; pseudo-labels that carry
    gradients (``detach``); consistency on the CPU; best checkpoint chosen on the test set.

    Differences from the authors: nnU-Net's Dice + cross-entropy (theirs is Dice alone), SGD with polynomial decay
    (theirs is constant), augmentation and patches; the ramp grows with every step and not every 150. Networks
    of fewer than 16 features at full resolution, such as Lite's, drop no channels.

    Knobs (plans block ``nnunet_ext.mc_net_plus``): ``supervised_weight``, ``consistency_weight``, ``temperature``,
    ``dropout``, ``detach``.

    Raises:
        UserError: Plans of another network.

    [0] Wu et al., Medical Image Analysis 81, 2022, https://doi.org/10.1016/j.media.2022.102530
    """

    method: ClassVar = "mc_net_plus"

    @classmethod
    def network_on(cls, unet: PlainConvUNet | ResidualEncoderUNet, knobs: Mapping[str, Any]) -> MCNetPlus:
        """Put two further decoders beside the U-Net's own."""
        return MCNetPlus(unet, dropout=channel_dropout(knobs["dropout"], 0.5, unet))

    def initialize(self) -> None:
        """Prepare as stock does, without deep supervision."""
        self.enable_deep_supervision = False
        super().initialize()

    def training_step(self, batch: dict) -> MCNetPlusStep:
        """Return the labels, and what the weight of the agreement is multiplied by in this step."""
        return MCNetPlusStep(batch["target"], self.ramped(batch["step"]))

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
