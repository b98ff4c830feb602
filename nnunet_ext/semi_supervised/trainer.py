"""The trainer of all semi-supervised methods: labelled and unlabelled images in every step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import time
from typing import Any

import numpy as np
import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import Tensor, distributed, nn

from nnunet_ext.base.knobs import resolve
from nnunet_ext.data.preprocessed.use import use_data
from nnunet_ext.data.same_images import raw_folder
from nnunet_ext.errors import UserError
from nnunet_ext.seeding.seeded_blur import steady_blur
from nnunet_ext.seeding.seeds import Purpose
from nnunet_ext.semi_supervised.losses import AnnotatedOnly, gaussian_ramp
from nnunet_ext.semi_supervised.predict import predict_unlabelled
from nnunet_ext.semi_supervised.preprocessing import check_unlabelled, unlabelled_folder
from nnunet_ext.semi_supervised.pseudo_labels import PseudoLabelFolder, PseudoLabelled
from nnunet_ext.semi_supervised.raw_images import check_unlabelled_apart, has_unlabelled
from nnunet_ext.semi_supervised.two_part_trainer import TwoPartTrainer
from nnunet_ext.semi_supervised.two_streams import IMAGES_ONLY, TwoStreams, unlabelled_loader


class SemiSupervisedTrainer(TwoPartTrainer):
    """Stock nnU-Net whose steps see unlabelled images too; a method derives from it and adds network and loss.

    A training batch is the stock one with ``unlabelled`` (Bu, C, D, H, W) and ``step`` (:class:`TwoStreams`).
    :meth:`train_step` joins the images, the labelled ones first, and lets nnU-Net take its own step on them. So the
    loss that a method builds in ``_build_loss`` around ``super()._build_loss()`` gets the output of all samples and the
    target of the labelled ones, and splits the output by the target's length. In validation steps, and wherever else
    the output has no more samples than the target, it must be the stock loss.

    Unlabelled patches are random ones. With ``guided_every`` the network predicts all unlabelled cases whenever so many
    epochs have passed, and from then on patches are oversampled in the foreground that it found, by nnU-Net's share.

    Knobs (plans block ``nnunet_ext.unlabelled``): ``batch_size``, ``ramp``, ``ema_decay``, ``guided_every``,
    ``checkpoint_halves``.

    Unlike stock, samples that hold nothing but the ignore label are left out of Dice losses that are means over
    samples (:class:`AnnotatedOnly`).

    Raises:
        UserError: A cascade's second stage; no unlabelled images, or not preprocessed with these plans; an unlabelled
            batch that DDP ranks cannot share. Validation and prediction need no unlabelled image.
    """

    unlabelled_entries: tuple[tuple[str, str], ...] = IMAGES_ONLY  # see TwoStreams
    _predicted_by: str | None = None  # digest of the network whose pseudo-labels are in use
    _unlabelled_cases: tuple[str, ...] = ()

    def initialize(self) -> None:
        """Build network, optimizer and loss; refused for a cascade's second stage."""
        if self.is_cascaded:
            raise UserError(
                f"{type(self).__name__}: expected a configuration of one stage, got {self.configuration_name!r}: it "
                f"reads predictions of {self.configuration_manager.previous_stage_name!r}, and nnU-Net makes none for "
                f"unlabelled images. Train 3d_fullres or 3d_lowres."
            )
        super().initialize()

    def _check_batch(self) -> None:
        super()._check_batch()
        if self.is_ddp and self._unlabelled_batch_size() < 1:
            samples = self._joint_unlabelled_batch_size()
            raise UserError(
                f"-num_gpus {distributed.get_world_size()}: expected an unlabelled sample for each, got {samples} in a "
                f"batch. Use -num_gpus {samples}, or raise the knob unlabelled.batch_size."
            )

    # loading

    @classmethod
    def needs_unlabelled(cls, knobs: Mapping[str, Any]) -> bool:
        """Whether a training is pointless without unlabelled images."""
        return True

    @classmethod
    def unlabelled_cases(
        cls, preprocessed_folder: Path, plans: Mapping[str, Any], configuration: str, raw: Path | None = None
    ) -> list[str]:
        """Return the unlabelled cases of a training, by :func:`check_unlabelled`; none if it has and needs none."""
        if not cls.needs_unlabelled(resolve(dict(plans), configuration)):
            there = unlabelled_folder(preprocessed_folder, plans, configuration).is_dir()
            if not there and not (raw is not None and has_unlabelled(raw)):
                return []
        return check_unlabelled(preprocessed_folder, plans, configuration, raw)

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Stock loaders, an unlabelled one for training; one ordered worker pool each for training and validation."""
        data = (Path(self.preprocessed_dataset_folder_base), self.plans_manager.plans, self.configuration_name)
        use_data(unlabelled_folder(*data))
        cases = self.unlabelled_cases(*data, raw_folder() / data[0].name)
        check_unlabelled_apart(data[0].name, self.dataset_json, cases, self.do_split()[1])
        train, val = self.bare_loaders()
        self.print_to_log_file(f"This training has {len(cases)} unlabelled cases.")
        self._unlabelled_cases = tuple(cases)
        unlabelled = self._unlabelled_loader(unlabelled_folder(*data), cases) if cases else None
        if self.knobs["seed"] is not None and unlabelled is not None:
            steady_blur(unlabelled.transforms)
        return (
            self.pool(self._streams(train, unlabelled), Purpose.TRAINING, self.num_iterations_per_epoch),
            self.pool(self._streams(val, None), Purpose.VALIDATION, self.num_val_iterations_per_epoch, share=2),
        )

    def _streams(self, labelled: nnUNetDataLoader, unlabelled: nnUNetDataLoader | None) -> Callable[..., TwoStreams]:
        return partial(TwoStreams, labelled, unlabelled, entries=self.unlabelled_entries)

    def _unlabelled_loader(self, folder: Path, cases: list[str]) -> nnUNetDataLoader:
        """Stock loader with stock augmentation; it yields only what ``unlabelled_entries`` says."""
        dataset = infer_dataset_class(str(folder))(str(folder), cases)
        loader = unlabelled_loader(self, dataset, self._unlabelled_batch_size())
        loader.transforms = self.unlabelled_transforms(loader.transforms)
        if self._pseudo_label_problem(cases) is None:
            loader._data = PseudoLabelled(folder, cases, self.pseudo_labels)
            loader.oversample_foreground_percent = self.oversample_foreground_percent
        return loader

    def unlabelled_transforms(self, stock: ComposeTransforms) -> ComposeTransforms:
        """Return the augmentation of unlabelled patches.

        Args:
            stock: nnU-Net's training transforms.
        """
        return stock

    # pseudo-labels

    @property
    def pseudo_labels(self) -> PseudoLabelFolder:
        """Where predictions of the unlabelled cases are, if there are any."""
        return PseudoLabelFolder(Path(self.output_folder) / "pseudo_labels")

    def _predicts_before(self, epoch: int) -> bool:
        """Whether the unlabelled cases are to be predicted before an epoch: it is time, or earlier ones are gone."""
        every = self.knobs["unlabelled"]["guided_every"]
        if every is None or epoch < every:
            return False
        return epoch % every == 0 or self._pseudo_label_problem(self._unlabelled_cases) is not None

    def _renew_pseudo_labels(self) -> None:
        """Predict all unlabelled cases and restart the loaders."""
        self._stop_workers()
        self._predicted_by = self._predict()
        self.set_deep_supervision_enabled(self.enable_deep_supervision)
        self.dataloader_train, self.dataloader_val = self.get_dataloaders()

    def _predict(self) -> str:
        """Predict all cases that are to be predicted; return what distinguishes these predictions from others."""
        return predict_unlabelled(self, self.pseudo_labels)

    def _pseudo_label_problem(self, cases: Sequence[str]) -> str | None:
        """What is there instead of the pseudo-labels in use, as ``found none: ...``; None if they are there."""
        if self._predicted_by is None:
            return "found none: none were made"
        problem = self.pseudo_labels.marker.problem(self._predicted_by)
        if problem is None and self.pseudo_labels.marker.cases() != list(cases):
            return "found those of other unlabelled cases: some were added or removed since"
        return problem

    def extra_state(self) -> dict[str, Any]:
        """Return which pseudo-labels are in use, if any."""
        own = {} if self._predicted_by is None else {"predicted_by": self._predicted_by}
        return super().extra_state() | own

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`extra_state` returned."""
        super().load_extra_state(state)
        self._predicted_by = state.get("predicted_by")

    # training

    def run_training(self) -> None:
        """Train as stock does; the workers are stopped in any case."""
        try:
            super().run_training()
        finally:
            self._stop_workers()

    def _stop_workers(self) -> None:
        for loader in (self.dataloader_train, self.dataloader_val):
            if isinstance(loader, MultiThreadedAugmenter):
                loader._finish()

    def on_epoch_start(self) -> None:
        """Start the epoch as stock does; a prediction of the unlabelled cases before it counts towards its time."""
        start = time()
        if self._predicts_before(self.current_epoch):
            self._renew_pseudo_labels()
        super().on_epoch_start()
        self.logger.get_value("epoch_start_timestamps", None)[-1] = start

    def train_step(self, batch: dict) -> dict:
        """Stock step on the labelled and the unlabelled images."""
        images = [batch[name].to(self.device, non_blocking=True) for name in ("data", "unlabelled")]
        sizes = [len(part) for part in images if len(part)]
        with self._parts_one_by_one(sizes):
            return super().train_step(batch | {"data": self.network_input(torch.cat(images), batch)})

    def network_input(self, images: Tensor, batch: dict) -> Any:
        """Return what the network gets in a training step; it needs a ``to(device, non_blocking=)``.

        Args:
            images: Labelled and unlabelled samples (B + Bu, C, D, H, W).
            batch: What else the step was given.
        """
        return images

    def box_generator(self, step: int) -> np.random.Generator:
        """Return what draws the boxes that a step pastes; with a seed they depend on seed, rank and step alone."""
        seeds = self.batch_seeds(Purpose.BOXES, self.num_iterations_per_epoch)
        return np.random.default_rng(None if seeds is None else seeds.at(step))

    def ramped(self, step: int) -> float:
        """Return what the weight of unlabelled samples is multiplied by in a step of the training."""
        length = self.knobs["unlabelled"]["ramp"] * self.num_epochs * self.num_iterations_per_epoch
        return gaussian_ramp(step, length)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """``with self.autocast():`` precision is that of stock steps: mixed on CUDA, full elsewhere."""
        return torch.autocast("cuda") if self.device.type == "cuda" else contextlib.nullcontext()

    def _build_loss(self) -> nn.Module:
        """Stock loss, of annotated samples."""
        loss = super()._build_loss()
        return (
            self._of_annotated(loss, self.label_manager.ignore_label) if self.label_manager.has_ignore_label else loss
        )

    def _of_annotated(self, loss: nn.Module, ignore_label: int | None) -> nn.Module:
        """Return a stock loss without the samples of which everything is ignored, where such a sample would count."""
        if self.configuration_manager.batch_dice:
            return loss
        ignore_label = None if self.label_manager.has_regions else ignore_label
        if not isinstance(loss, DeepSupervisionWrapper):
            return AnnotatedOnly(loss, ignore_label)
        loss.loss = AnnotatedOnly(loss.loss, ignore_label)
        return loss
