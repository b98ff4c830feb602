"""nnU-Net's trainer with self-training: rounds of pseudo-labels that go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from batchgeneratorsv2.transforms.utils.seg_to_regions import ConvertSegmentationToRegionsTransform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from torch import Tensor

from nnunet_ext.errors import UserError
from nnunet_ext.methods.self_training.mixing import exchange, mixing_box
from nnunet_ext.methods.self_training.parts import Parts, share_epochs
from nnunet_ext.methods.self_training.selection import Selection, read_kept
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.semi_supervised.losses import let_ignore
from nnunet_ext.semi_supervised.predict import Unsure, predict_unlabelled
from nnunet_ext.semi_supervised.preprocessing import unlabelled_folder
from nnunet_ext.semi_supervised.pseudo_labelled.loss import PseudoLabelLoss
from nnunet_ext.semi_supervised.pseudo_labelled.trainer import PseudoLabelledTrainer
from nnunet_ext.semi_supervised.pseudo_labels import PseudoLabelFolder, PseudoLabelled
from nnunet_ext.semi_supervised.two_streams import TwoStreams


class SelfTrainingTrainer(PseudoLabelledTrainer):
    """Rounds of pseudo-labels on any nnU-Net plans: train, predict, go on with both, predict again, go on.

    1. The first epochs (knob ``supervised_share``) are stock nnU-Net on the labelled cases.
    2. In each of the ``rounds`` the network predicts all unlabelled cases whole, with mirroring, and goes on with its
       weights, a new optimizer and a new decay of the learning rate, on labelled and pseudo-labelled samples.
    3. A round trains on the unlabelled cases whose prediction changed least since the one before [0] (``selection``).
       The first round compares with the network after two thirds of the first part. ``selection_N.csv`` in the fold's
       folder has the stability of each case, the mean over its classes of the Dice of both predictions.
    4. In some of the steps (``mixing_share``) a box is exchanged between labelled and pseudo-labelled patches, images
       and labels alike [1].
    5. If ``fine_tune_share`` says so, the last epochs train on the labelled cases alone, at a lower learning rate.

    The network is the plans' own and its checkpoints load into stock nnU-Net. The label maps are in the fold's folder,
    ``pseudo_labels_N``; 0 is the early prediction. A run that was killed resumes where it stopped, during prediction
    case by case.

    With ``rounds`` 0 it is stock nnU-Net. With one round, no selection and no mixing it is ``PseudoLabelTrainer`` with
    ``anew`` false and the same ``supervised_share``. Both hold bit for bit, but for ``channel_dropout``, which here
    follows mixing.

    Knobs (plans blocks ``nnunet_ext.self_training`` and ``nnunet_ext.unlabelled``): ``supervised_share``, ``rounds``,
    ``pseudo_label_weight``, ``mirroring``, ``confidence``, ``selection``, ``mixing_share``, ``mixing_box``,
    ``fine_tune_share``, ``fine_tune_rate``; ``batch_size``.

    Raises:
        UserError: Shares that leave no epoch for the rounds; pseudo-labels that a training resumes with, or the
            unlabelled cases, are gone or changed; an unlabelled batch that DDP ranks cannot share evenly.

    [0] Yang et al., ST++, CVPR 2022, https://arxiv.org/abs/2106.05095
    [1] Bai et al., Bidirectional copy-paste, CVPR 2023, https://arxiv.org/abs/2305.00673
    """

    method: ClassVar = "self_training"
    loses_channels_itself: ClassVar = True  # mixing would bring them back
    _round = 0  # whose pseudo-labels were made last; 0: the early prediction, or none
    _kept: tuple[str, ...] | None = None  # cases that the round trains on; None: all

    @property
    def _own(self) -> dict[str, Any]:
        return self.knobs["self_training"]

    @property
    def parts(self) -> Parts:
        """Epochs on labels, of each round that the training has epochs for, and on labels at the end."""
        own = self._own
        return share_epochs(self.num_epochs, own["supervised_share"], own["rounds"], own["fine_tune_share"])

    @property
    def part_lengths(self) -> tuple[int, ...]:
        """Epochs of each part."""
        return self.parts.lengths

    @property
    def rounds(self) -> int:
        """Number of rounds that the training has epochs for."""
        return len(self.parts.rounds)

    @property
    def pseudo_label_weight(self) -> float:
        """The knob's value."""
        return self._own["pseudo_label_weight"]

    def rate_shares(self) -> tuple[float, ...]:
        """Return 1 for all parts but the last one on labels."""
        last = [self._own["fine_tune_rate"]] if self.parts.last else []
        return (*[1.0] * (1 + self.rounds), *last)

    def initialize(self) -> None:
        """Build network, optimizer and loss."""
        own = self._own
        if own["rounds"] and own["supervised_share"] + own["fine_tune_share"] >= 1:
            raise UserError(
                f"plans {self.plans_manager.plans_name!r}: expected self_training.supervised_share and fine_tune_share "
                f"to add up to less than 1, so that epochs are left for the rounds, got {own['supervised_share']} and "
                f"{own['fine_tune_share']}. Lower one of them."
            )
        super().initialize()

    def on_train_start(self) -> None:
        """Prepare as stock does."""
        super().on_train_start()
        if self.rounds < self._own["rounds"]:
            self.print_to_log_file(
                f"WARNING: {self.num_epochs} epochs have room for {self.rounds} of {self._own['rounds']} rounds, set "
                f"the knob num_epochs higher"
            )

    # pseudo-labels

    @property
    def _unsure(self) -> Unsure | None:
        """Which voxels of pseudo-labels are ignored: labelled as the dataset's own are, or by the next free number."""
        if self._own["confidence"] == 0:
            return None
        ignore_label = self.label_manager.ignore_label
        unused = int(max(self.label_manager.all_labels)) + 1
        return Unsure(self._own["confidence"], unused if ignore_label is None else ignore_label)

    @property
    def _added_label(self) -> int | None:
        """Label that is ignored in the rounds alone; None if there is none, or if the dataset's own is."""
        return None if self._unsure is None or self.label_manager.has_ignore_label else self._unsure.label

    def _build_loss(self) -> PseudoLabelLoss:
        loss, label = super()._build_loss(), self._added_label
        if label is None:
            return loss
        partial = super()._build_loss().supervised
        for module in partial.modules():
            let_ignore(module, label)
        return PseudoLabelLoss(loss.supervised, self.pseudo_label_weight, self._of_annotated(partial, label))

    @property
    def pseudo_labels(self) -> PseudoLabelFolder:
        """Where the predictions that were made last are."""
        return PseudoLabelFolder(Path(self.output_folder) / f"pseudo_labels_{self._round}")

    @property
    def _selects(self) -> bool:
        return bool(self._own["selection"]) and self.rounds > 0

    @property
    def _early_epoch(self) -> int:
        """Epoch before which the early prediction is made, which the first round's is compared with."""
        return 2 * self.parts.supervised // 3

    @property
    def _trains_on_pseudo_labels(self) -> bool:
        return super()._trains_on_pseudo_labels and 0 < self.part_of(self.current_epoch) == self._round

    @property
    def _needs_pseudo_labels(self) -> bool:
        compares = self._selects and self._round < self.rounds  # when the next round begins
        return self._trains_on_pseudo_labels or (compares and super()._trains_on_pseudo_labels)

    def _predicts_before(self, epoch: int) -> bool:
        return super()._predicts_before(epoch) or (self._selects and epoch == self._early_epoch)

    def _renew_pseudo_labels(self) -> None:
        """Begin a part, or make the early prediction."""
        part = self.part_of(self.current_epoch)
        self._stop_workers()
        if part <= self.rounds:
            earlier, self._round = self.pseudo_labels, part
            self._predicted_by = predict_unlabelled(
                self, self.pseudo_labels, mirroring=self._own["mirroring"], unsure=self._unsure
            )
            self._kept = self._select(earlier) if part and self._selects else None
            self.set_deep_supervision_enabled(self.enable_deep_supervision)
        self.dataloader_train, self.dataloader_val = self.get_dataloaders()
        if part:
            self._restart_optimizer()

    def _select(self, earlier: PseudoLabelFolder) -> tuple[str, ...]:
        """Return the cases that this round trains on; the first rank finds and writes them."""
        ranks, file = Ranks.now(), Path(self.output_folder) / f"selection_{self._round}.csv"
        wait = ranks.patient_wait()
        if ranks.is_first:
            data = (Path(self.preprocessed_dataset_folder_base), self.plans_manager.plans, self.configuration_name)
            images = unlabelled_folder(*data)
            manager, shares = self.label_manager, self._own["selection"]
            classes = manager.foreground_regions if manager.has_regions else manager.foreground_labels
            share = shares[min(self._round, len(shares)) - 1]
            before, now = (
                PseudoLabelled(images, self._unlabelled_cases, labels) for labels in (earlier, self.pseudo_labels)
            )
            found = Selection.between(before, now, classes, share)
            found.write(file)
            self.print_to_log_file(f"Round {self._round}: {found.summary()} ({file.name})")
        wait()
        return read_kept(file)

    def _unlabelled_loader(self, folder: Path, cases: list[str]) -> nnUNetDataLoader:
        loader = super()._unlabelled_loader(folder, cases)
        if self._trains_on_pseudo_labels and self._kept is not None:
            loader.indices = list(self._kept)
        return loader

    def _streams(self, labelled: nnUNetDataLoader, unlabelled: nnUNetDataLoader | None) -> Callable[..., TwoStreams]:
        label = self._added_label
        if unlabelled is not None and self._trains_on_pseudo_labels and label is not None:
            for transform in labelled.transforms.transforms:  # both parts of a batch have a channel of ignored voxels
                if isinstance(transform, ConvertSegmentationToRegionsTransform):
                    transform.regions.append(torch.tensor([float(label)]))
        return super()._streams(labelled, unlabelled)

    # training

    def train_step(self, batch: dict) -> dict:
        """Mix, then step."""
        generator = self.box_generator(batch["step"])
        box = None
        if "pseudo_target" in batch:
            box = mixing_box(batch["data"].shape[2:], self._own["mixing_share"], self._own["mixing_box"], generator)
        if box is not None:
            batch = batch | self._mixed(batch, box.to(self.device))
        if self.lose_channels is not None:
            for images in (batch["data"], batch.get("unlabelled")):
                if images is not None:
                    self.lose_channels.lose(images, generator)
        return super().train_step(batch)

    def _mixed(self, batch: dict, box: Tensor) -> dict[str, Any]:
        """Return images and targets of both parts with the inside of the box exchanged."""
        images, unlabelled = exchange(batch["data"], batch["unlabelled"], box)
        target, pseudo_target = exchange(batch["target"], batch["pseudo_target"], box)
        return {"data": images, "unlabelled": unlabelled, "target": target, "pseudo_target": pseudo_target}

    # checkpoints

    def extra_state(self) -> dict[str, Any]:
        """Return the round, and the cases that it trains on."""
        return super().extra_state() | {"round": self._round, "kept": None if self._kept is None else [*self._kept]}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`extra_state` returned."""
        super().load_extra_state(state)
        kept = state.get("kept")
        self._round, self._kept = state.get("round", 0), None if kept is None else tuple(kept)
