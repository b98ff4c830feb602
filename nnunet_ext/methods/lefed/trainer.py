"""The semi-supervised trainer with LeFeD's network, loss and inner passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import Tensor

from nnunet_ext.methods.lefed.architecture import Fed, LeFeD
from nnunet_ext.methods.lefed.loss import LeFeDLoss, LeFeDStep, SquaredDice
from nnunet_ext.networks.channel_dropout import channel_dropout
from nnunet_ext.semi_supervised.trainer import SemiSupervisedTrainer


class LeFeDTrainer(SemiSupervisedTrainer):
    """LeFeD [0]: two decoders trained to agree, on unlabelled images too, whose difference is fed back.

    A batch gets ``passes`` optimizer steps; each pass but the first adds the feedback of the pass before
    (:class:`LeFeD`). So a step of nnU-Net, and of its log, is three steps of the optimizer: a fair control trains three
    times as many, or as long. If the feedback is not finite, the batch gets none. nnU-Net's deep supervision is off:
    side heads take its place.

    Not reproduced: hard-coded two classes; a ramp and a sharpening that the authors' code computes and never uses; best
    checkpoint chosen on the test set. Kept, as it is part of the method: the bottleneck's feedback holds no
    disagreement.

    Differences from the authors: nnU-Net's Dice + cross-entropy, SGD (Nesterov 0.99, polynomial decay), augmentation
    and patches; they have Dice alone, SGD 0.01 with momentum 0.9 in steps (knobs ``optimizer``, ``lr_schedule``), and
    rotation and flips only. Networks of fewer than 16 features at full resolution, such as Lite's, drop no channels.

    Knobs (plans block ``nnunet_ext.lefed``): ``passes``, ``feedback_scale``, ``bottleneck_dropout``, ``head_dropout``,
    ``consistency_weight``, ``side_weights``, ``side_at_full_size``, ``supervised_loss``, ``own_decoder``,
    ``mean_of_decoders``.

    Raises:
        UserError: Plans of another network.

    [0] Zeng et al., IEEE Transactions on Medical Imaging 44, 2025, https://doi.org/10.1109/TMI.2024.3429340
    """

    method: ClassVar = "lefed"

    @classmethod
    def network_on(cls, unet: PlainConvUNet | ResidualEncoderUNet, knobs: Mapping[str, Any]) -> LeFeD:
        """Put the second decoder and the side heads beside the U-Net's decoder."""
        return LeFeD(
            unet,
            own_decoder=knobs["own_decoder"],
            dropout=(
                channel_dropout(knobs["bottleneck_dropout"], 0.3, unet),
                channel_dropout(knobs["head_dropout"], 0.5, unet),
            ),
            feedback_scale=knobs["feedback_scale"],
            mean_of_decoders=knobs["mean_of_decoders"],
            side_at_full_size=knobs["side_at_full_size"],
        )

    def initialize(self) -> None:
        """Prepare as stock does, without deep supervision."""
        self.enable_deep_supervision = False
        super().initialize()

    def network_input(self, images: Tensor, batch: dict) -> Fed:
        """Return the images with the feedback of the pass before."""
        return Fed(images, batch["feedback"])

    def train_step(self, batch: dict) -> dict:
        """Take a stock step in each inner pass; the last one is logged."""
        names = ("data", "unlabelled", "target")
        batch = batch | {name: batch[name].to(self.device, non_blocking=True) for name in names}  # once, not each pass
        feedback: list[Tensor] | None = None
        finite = True
        for _ in range(self.knobs["lefed"]["passes"]):
            step = self.training_step(batch)
            output = super().train_step(batch | {"target": step, "feedback": feedback})
            finite = finite and all(bool(level.isfinite().all()) for level in step.feedback)
            feedback = step.feedback if finite else None
        return output

    def training_step(self, batch: dict) -> LeFeDStep:
        """Return the labels; the loss adds the feedback for the next pass."""
        target = batch["target"]
        return target if isinstance(target, LeFeDStep) else LeFeDStep(target)

    def _build_loss(self) -> LeFeDLoss:
        knobs, regions = self.knobs["lefed"], self.label_manager.has_regions
        supervised = super()._build_loss()
        if knobs["supervised_loss"] == "squared_dice":
            supervised = SquaredDice(regions=regions, ignore_label=self.label_manager.ignore_label)
        return LeFeDLoss(
            supervised,
            regions=regions,
            consistency_weight=knobs["consistency_weight"],
            side_weights=knobs["side_weights"],
            side_at_full_size=knobs["side_at_full_size"],
        )
