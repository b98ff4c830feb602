"""nnU-Net's trainer with pseudo-labels: train, predict the unlabelled images, retrain on both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunet_ext.errors import UserError
from nnunet_ext.methods.pseudo_label.loss import PseudoLabelLoss, PseudoLabelStep
from nnunet_ext.methods.pseudo_label.restarted_lr import RestartedLR
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.semi_supervised.trainer import SemiSupervisedTrainer
from nnunet_ext.semi_supervised.two_streams import TwoStreams


class PseudoLabelTrainer(SemiSupervisedTrainer):
    """The practical baseline of semi-supervised training, in one run, on any nnU-Net plans.

    1. The first epochs (knob ``supervised_share``) are stock nnU-Net on the labelled cases.
    2. The network predicts all unlabelled cases, as nnU-Net predicts (sliding window, mirroring). The label maps are
       stored in the fold's folder, ``pseudo_labels``.
    3. The weights that the training began with (or those that predicted, knob ``anew``), a new optimizer and a new
       decay of the learning rate: the other epochs train on labelled and pseudo-labelled samples. A pseudo-labelled
       patch is cropped, augmented and oversampled in the foreground as a labelled one is, with its labels.

    The network is the plans' own and its checkpoints load into stock nnU-Net. ``checkpoint_best`` is the best of the
    last part once that has begun. A run that was killed resumes where it stopped, during prediction case by case.

    Knobs (plans blocks ``nnunet_ext.pseudo_label`` and ``nnunet_ext.unlabelled``): ``supervised_share``,
    ``pseudo_label_weight``, ``anew``; ``batch_size``.

    Not reproduced: unlabelled cases that train as background because they have no label; patches whose labels are those
    of another crop; a second part that is shorter than it seems, because it continues with the first one's learning
    rate.

    Raises:
        UserError: The pseudo-labels that a training resumes with, or the unlabelled cases, are gone or changed; an
            unlabelled batch that DDP ranks cannot share evenly under batch Dice.
    """

    method: ClassVar = "pseudo_label"
    unlabelled_entries = (("unlabelled", "data"), ("pseudo_target", "target"))
    _first_weights: dict[str, torch.Tensor] | None = None

    @property
    def supervised_epochs(self) -> int:
        """Number of epochs before the prediction: at least one, and all but one at most."""
        share = self.knobs["pseudo_label"]["supervised_share"]
        return max(1, min(round(share * self.num_epochs), self.num_epochs - 1))

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, RestartedLR]:
        """Stock optimizer; its learning rate decays in each part."""
        optimizer, decay = super().configure_optimizers()
        lengths = (self.supervised_epochs, self.num_epochs - self.supervised_epochs)
        return optimizer, RestartedLR(decay, lengths)

    def _build_loss(self) -> PseudoLabelLoss:
        return PseudoLabelLoss(super()._build_loss(), self.knobs["pseudo_label"]["pseudo_label_weight"])

    def _check_batch(self) -> None:
        super()._check_batch()
        ranks, samples = Ranks.now().world_size, self._joint_unlabelled_batch_size()
        if self.configuration_manager.batch_dice and samples % ranks:
            batch = self.configuration_manager.batch_size
            raise UserError(
                f"-num_gpus {ranks}: expected a multiple of {ranks} pseudo-labelled samples in a batch, got {samples}; "
                f"stock batch Dice aborts on uneven batches. Set the knob unlabelled.batch_size to {batch}, or to "
                f"another multiple of {ranks}."
            )

    # loading

    @property
    def _needs_pseudo_labels(self) -> bool:
        return self._predicted_by is not None and self.current_epoch < self.num_epochs

    def _unlabelled_loader(self, folder: Path, cases: list[str]) -> nnUNetDataLoader:
        problem = self._pseudo_label_problem(cases)
        if self._needs_pseudo_labels and problem is not None:
            raise UserError(
                f"{self.pseudo_labels.place}: expected the pseudo-labels that this training began with, {problem}. "
                f"Restore them, or train from scratch, without --c."
            )
        return super()._unlabelled_loader(folder, cases)

    def _streams(self, labelled: nnUNetDataLoader, unlabelled: nnUNetDataLoader | None) -> Callable[..., TwoStreams]:
        if not self._needs_pseudo_labels:
            unlabelled = None
        if unlabelled is not None:
            unlabelled.transforms = labelled.transforms  # one for images and labels
        return super()._streams(labelled, unlabelled)

    # training

    def on_train_start(self) -> None:
        """Prepare as stock does; a new training keeps its initial weights if it will restart from them."""
        super().on_train_start()
        if self.knobs["pseudo_label"]["anew"] and not self._starts_from_checkpoint:
            self._first_weights = {
                name: weight.cpu().clone() for name, weight in self.bare_network.state_dict().items()
            }
        if self.num_epochs == 1:
            self.print_to_log_file("WARNING: one epoch trains on labelled images only, set the knob num_epochs higher")

    def _predicts_before(self, epoch: int) -> bool:
        return epoch == self.supervised_epochs

    def _renew_pseudo_labels(self) -> None:
        super()._renew_pseudo_labels()
        if self.knobs["pseudo_label"]["anew"]:
            self.bare_network.load_state_dict(cast(dict[str, torch.Tensor], self._first_weights))
        self._first_weights = None
        self.optimizer, self.lr_scheduler = self.configure_optimizers()
        self._best_ema = None

    def train_step(self, batch: dict) -> dict:
        """Stock step on the labelled samples, and on the pseudo-labelled ones if there are any."""
        return super().train_step({"unlabelled": batch["data"][:0]} | batch)

    def training_step(self, batch: dict) -> PseudoLabelStep:
        """Return labels and pseudo-labels."""
        return PseudoLabelStep(batch["target"], batch.get("pseudo_target"))

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        """Log as stock does; the moving average that chooses the best checkpoint also restarts."""
        super().on_validation_epoch_end(val_outputs)
        if self.current_epoch == self.supervised_epochs:
            self.logger.get_value("ema_fg_dice", None)[-1] = np.nan_to_num(self.logger.get_value("mean_fg_dice", -1))

    def on_epoch_end(self) -> None:
        """End the epoch as stock does; the first part's last one writes a checkpoint, for a kill while predicting."""
        save_every = self.save_every
        if self.current_epoch + 1 == self.supervised_epochs:
            self.save_every = 1
        super().on_epoch_end()
        self.save_every = save_every

    # checkpoints

    def extra_state(self) -> dict[str, Any]:
        """Return the weights to restart from, until that is done."""
        own = {"first_weights": self._first_weights} if self._predicted_by is None else {}
        return super().extra_state() | own

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`extra_state` returned."""
        super().load_extra_state(state)
        weights = state.get("first_weights")
        self._first_weights = None if weights is None else {name: weight.clone() for name, weight in weights.items()}
