"""The trainer of trainings in parts: labelled images, then these and pseudo-labelled ones."""

from __future__ import annotations

import abc
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunet_ext.errors import UserError
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.semi_supervised.pseudo_labelled.loss import PseudoLabelLoss, PseudoLabelStep
from nnunet_ext.semi_supervised.pseudo_labelled.restarted_lr import RestartedLR
from nnunet_ext.semi_supervised.pseudo_labels import PseudoLabelFolder
from nnunet_ext.semi_supervised.trainer import SemiSupervisedTrainer
from nnunet_ext.semi_supervised.two_streams import TwoStreams


class PseudoLabelledTrainer(SemiSupervisedTrainer):
    """A training in parts, each with an optimizer and a decay of the learning rate of its own.

    The first part is stock nnU-Net on the labelled cases. Before a later part the network predicts all unlabelled
    cases, and its steps then see labelled and pseudo-labelled samples (:class:`PseudoLabelLoss`). A pseudo-labelled
    patch is cropped, augmented and oversampled in the foreground as a labelled one is, with its labels.

    A part's last epoch writes a checkpoint, so a run that was killed while it predicts goes on there. The best
    checkpoint is the best of the part that has begun last.

    Raises:
        UserError: The pseudo-labels that a training resumes with, or the unlabelled cases, are gone or changed; an
            unlabelled batch that DDP ranks cannot share evenly under batch Dice.
    """

    unlabelled_entries = (("unlabelled", "data"), ("pseudo_target", "target"))

    @property
    @abc.abstractmethod
    def part_lengths(self) -> tuple[int, ...]:
        """Epochs of each part, at least one each."""

    @property
    @abc.abstractmethod
    def pseudo_label_weight(self) -> float:
        """Weight of a pseudo-labelled sample in the mean loss of a batch."""

    @property
    def part_starts(self) -> tuple[int, ...]:
        """First epochs of all parts but the first."""
        return tuple(accumulate(self.part_lengths[:-1]))

    def part_of(self, epoch: int) -> int:
        """Return the part that an epoch is in, 0 for the first."""
        return bisect_right(self.part_starts, epoch)

    def rate_shares(self) -> tuple[float, ...]:
        """Return what the learning rates of each part are multiplied by; nothing: 1."""
        return ()

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, RestartedLR]:
        """Stock optimizer; its learning rate decays in each part."""
        optimizer, decay = super().configure_optimizers()
        return optimizer, RestartedLR(decay, self.part_lengths, self.rate_shares())

    def _build_loss(self) -> PseudoLabelLoss:
        return PseudoLabelLoss(super()._build_loss(), self.pseudo_label_weight)

    def _check_batch(self) -> None:
        super()._check_batch()
        ranks, samples = Ranks.now().world_size, self._joint_unlabelled_batch_size()
        if self._has_unlabelled and self.configuration_manager.batch_dice and samples % ranks:
            batch = self.configuration_manager.batch_size
            raise UserError(
                f"-num_gpus {ranks}: expected a multiple of {ranks} pseudo-labelled samples in a batch, got {samples}; "
                f"stock batch Dice aborts on uneven batches. Set the knob unlabelled.batch_size to {batch}, or to "
                f"another multiple of {ranks}."
            )

    # loading

    @property
    def _has_unlabelled(self) -> bool:
        """Whether there are unlabelled images to train on."""
        return True

    @property
    def _trains_on_pseudo_labels(self) -> bool:
        """Whether the current epoch does."""
        return self._predicted_by is not None and self.current_epoch < self.num_epochs

    @property
    def _needs_pseudo_labels(self) -> bool:
        """Whether the current epoch, or what follows it, needs those that were made last."""
        return self._trains_on_pseudo_labels

    def _unlabelled_loader(self, folder: Path, cases: list[str]) -> nnUNetDataLoader:
        if self._needs_pseudo_labels:
            self._check_pseudo_labels(self.pseudo_labels, self._pseudo_label_problem(cases))
        return super()._unlabelled_loader(folder, cases)

    def _check_pseudo_labels(self, folder: PseudoLabelFolder, problem: str | None) -> None:
        if problem is not None:
            raise UserError(
                f"{folder.place}: expected the pseudo-labels that this training began with, {problem}. Restore them, "
                f"or train from scratch, without --c."
            )

    def _streams(self, labelled: nnUNetDataLoader, unlabelled: nnUNetDataLoader | None) -> Callable[..., TwoStreams]:
        if not self._trains_on_pseudo_labels:
            unlabelled = None
        if unlabelled is not None:
            unlabelled.transforms = labelled.transforms  # one for images and labels
        return super()._streams(labelled, unlabelled)

    # training

    def _predicts_before(self, epoch: int) -> bool:
        return epoch in self.part_starts

    def _restart_optimizer(self) -> None:
        """Begin a part: with a new optimizer and its own best checkpoint."""
        self.optimizer, self.lr_scheduler = self.configure_optimizers()
        self._best_ema = None

    def train_step(self, batch: dict) -> dict:
        """Stock step on the labelled samples, and on the pseudo-labelled ones if there are any."""
        return super().train_step({"unlabelled": batch["data"][:0]} | batch)

    def training_step(self, batch: dict) -> PseudoLabelStep:
        """Return labels and pseudo-labels."""
        return PseudoLabelStep(batch["target"], batch.get("pseudo_target"))

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        """Log as stock does; the moving average that chooses the best checkpoint restarts with each part."""
        super().on_validation_epoch_end(val_outputs)
        if self.current_epoch in self.part_starts:
            self.logger.get_value("ema_fg_dice", None)[-1] = np.nan_to_num(self.logger.get_value("mean_fg_dice", -1))

    def on_epoch_end(self) -> None:
        """End the epoch as stock does; a part's last one writes a checkpoint, for a kill while predicting."""
        save_every = self.save_every
        if self.current_epoch + 1 in self.part_starts:
            self.save_every = 1
        super().on_epoch_end()
        self.save_every = save_every
