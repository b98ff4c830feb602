"""Fine-tunings whose new parameters train without labels first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.base.optimizers import make_optimizer, make_schedule
from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.data.preprocessed.use import use_data
from nnunet_ext.data.same_images import raw_folder
from nnunet_ext.errors import UserError
from nnunet_ext.methods.fine_tune.pretext import Parameters, Pretext
from nnunet_ext.networks.lora import is_factor
from nnunet_ext.networks.parts import part_of
from nnunet_ext.seeding.seeds import Purpose
from nnunet_ext.seeding.stepped_loader import SingleLoader
from nnunet_ext.semi_supervised.masked.hidden_patch import masked_error
from nnunet_ext.semi_supervised.masked.hiding import KNOBS, Hiding
from nnunet_ext.semi_supervised.masked.images import Images, without_intensities
from nnunet_ext.semi_supervised.preprocessing import unlabelled_folder, unlabelled_if_any
from nnunet_ext.semi_supervised.pseudo_labelled.restarted_lr import RestartedLR
from nnunet_ext.semi_supervised.raw_images import check_unlabelled_apart
from nnunet_ext.semi_supervised.two_streams import unlabelled_loader
from nnunet_ext.weights.transfer import Transfer

KNOB = "knob fine_tune.pretrain_new"
NEW = {"lora": "LoRA's factors", "frozen_encoder": "the decoder"}
STATE = "pretext"  # key of its state in the trainer's own part of a checkpoint


class PretrainsNew(ExtTrainer):
    """Stock nnU-Net that begins, with the knob ``fine_tune.pretrain_new``, with what is new, without any label [0].

    In the first epochs (``fine_tune.pretrain_share`` of all), LoRA's factors, or with a frozen encoder the decoder,
    learn to restore hidden blocks of the fold's training images and of ``imagesUn``, as the masked autoencoder does.
    Everything else stays as it is, the segmentation heads too: a head of its own, dropped afterwards, makes images of
    the features at full resolution. The epochs that are left have a new optimizer and a learning rate that starts
    again. Validation is nnU-Net's in all epochs.

    Raises:
        UserError: Another strategy, or a source that fills the decoder, so that nothing is new; a single epoch; a
            cascade's second stage; a network without segmentation heads in its decoder.

    [0] Lei et al., Pre-training everywhere, 2024, https://arxiv.org/abs/2408.15011
    """

    pretrains_new: ClassVar[bool] = True
    dataloader_train: Any
    dataloader_val: Any
    loss: Any
    _pretext: Pretext | None = None
    _pretext_state: dict[str, Any] | None = None

    @property
    def pretext_epochs(self) -> int:
        """How many epochs restore images; 0 without the knob."""
        own = self.knobs["fine_tune"]
        if not own["pretrain_new"]:
            return 0
        return max(1, min(round(own["pretrain_share"] * self.num_epochs), self.num_epochs - 1))

    @property
    def _restores(self) -> bool:
        """Whether the current epoch does."""
        return self.current_epoch < self.pretext_epochs

    @cached_property
    def _hiding(self) -> Hiding:
        return Hiding.of(self.plans_manager.plans_name, self.configuration_manager, self.knobs[KNOBS])

    # before the training

    def initialize(self) -> None:
        """Build network, optimizer and loss, after refusing what cannot begin without labels."""
        if self.pretext_epochs:
            self._check_pretext()
        super().initialize()
        if self.pretext_epochs and not hasattr(getattr(self.bare_network, "decoder", None), "seg_layers"):
            raise UserError(
                f"{KNOB}: expected a network with decoder.seg_layers, found {type(self.bare_network).__name__}. Set it "
                f"to false."
            )

    def _check_pretext(self) -> None:
        if self.strategy not in NEW:
            raise UserError(
                f"{KNOB}: expected the strategy 'lora' or 'frozen_encoder', which have parameters that are new beside "
                f"frozen ones, got {self.strategy!r}. Set fine_tune.strategy, or pretrain_new to false."
            )
        if self.num_epochs < 2:
            raise UserError(f"{KNOB}: expected at least 2 epochs, got {self.num_epochs}. Raise the knob num_epochs.")
        if self.is_cascaded:
            raise UserError(
                f"{KNOB}: expected a configuration of one stage, got {self.configuration_name!r}, which reads "
                f"predictions of another. Train 3d_fullres or 3d_lowres, or set it to false."
            )
        _ = self._hiding  # whether there is something to hide

    def on_weights_loaded(self, done: Transfer) -> None:
        """Refuse to begin with a decoder that the source has filled."""
        super().on_weights_loaded(done)
        if not self.pretext_epochs or self.strategy != "frozen_encoder":
            return
        fresh = [fate.tensor for fate in done.fates if fate.kind == "fresh" and fate.tensor.endswith("weight")]
        if not any(part_of(name) == "decoder" for name in fresh):
            raise UserError(
                f"{KNOB}: expected a decoder that init_from leaves at its random start, found one that it fills, so "
                f"nothing but the heads is new. Set fine_tune.transfer=encoder, or pretrain_new to false."
            )

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """Stock optimizer; its learning rate starts again after the epochs without labels."""
        optimizer, schedule = super().configure_optimizers()
        if not self.pretext_epochs:
            return optimizer, schedule
        return optimizer, RestartedLR(schedule, (self.pretext_epochs, self.num_epochs - self.pretext_epochs))

    def on_train_start(self) -> None:
        """Prepare the training, and what restores images if it begins or goes on with that."""
        super().on_train_start()
        if self._restores:
            self._begin_pretext()

    def _begin_pretext(self) -> None:
        self.seed(Purpose.WEIGHTS, 1)
        new, network = self._new_parameters(), self.bare_network
        pretext = Pretext(network, new, self.num_input_channels, self.network)
        weights, kind, rate = pretext.parameters, self.knobs["optimizer"], self.initial_lr
        groups = [{"params": weights}]
        pretext.optimizer = make_optimizer(weights, self.optimizer, kind, rate, self.weight_decay, groups)
        pretext.schedule = make_schedule(pretext.optimizer, self.knobs, rate, self.pretext_epochs)
        if self._pretext_state is not None:
            pretext.load_state(self._pretext_state)
        self._pretext = pretext
        count = sum(parameter.numel() for parameter in new.values())
        images, first, all_epochs = len(self._pretext_images.identifiers), self.pretext_epochs, self.num_epochs
        self.print_to_log_file(
            f"New parameters first: {count:,} ({NEW[self.strategy or '']}) restore hidden blocks of {images} images in "
            f"{first} of {all_epochs} epochs; the other {all_epochs - first} train on the labels"
        )

    def _new_parameters(self) -> Parameters:
        def is_new(name: str) -> bool:
            return is_factor(name) if self.strategy == "lora" else part_of(name) == "decoder"

        named = self.bare_network.named_parameters()
        return {name: each for name, each in named if each.requires_grad and is_new(name)}

    # loading

    @cached_property
    def _pretext_images(self) -> Any:
        """The fold's training images and all unlabelled ones, none of which is validated on."""
        data = Path(self.preprocessed_dataset_folder_base), self.plans_manager.plans, self.configuration_name
        other, (train, val) = unlabelled_folder(*data), self.do_split()
        use_data(other)
        unlabelled = unlabelled_if_any(*data, raw_folder() / data[0].name)
        check_unlabelled_apart(data[0].name, self.dataset_json, unlabelled, val)
        return Images({self.preprocessed_dataset_folder: train, str(other): unlabelled})

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Stock loaders; that of training yields images alone while these are restored."""
        train, val = super().get_dataloaders()
        if not self._restores:
            return train, val
        _finish(train)
        images = unlabelled_loader(self, self._pretext_images, self.batch_size)
        images.transforms = without_intensities(images.transforms)
        return self.pool(partial(SingleLoader, images), Purpose.UNLABELLED, self.num_iterations_per_epoch), val

    # training

    def on_epoch_start(self) -> None:
        """Start the epoch as stock does; the first one with labels has loaders of its own."""
        if self._pretext is not None and not self._restores:
            self._pretext.end()
            self._pretext = None
            for loader in (self.dataloader_train, self.dataloader_val):
                _finish(loader)
            self.dataloader_train, self.dataloader_val = self.get_dataloaders()
        super().on_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Start the epoch as stock does."""
        super().on_train_epoch_start()
        if self._pretext is not None:
            self._pretext.schedule.step(self.current_epoch)

    def train_step(self, batch: dict) -> dict:
        """Stock step; on images of which a part is hidden, while these are restored."""
        if self._pretext is None:
            return super().train_step(batch)
        patch = self._hiding.patch(batch, self.device)
        with self._restoring(self._pretext):  # what our own step does to labels is left out
            return nnUNetTrainer.train_step(self, batch | {"data": self._hiding.input(patch), "target": patch})

    @contextlib.contextmanager
    def _restoring(self, pretext: Pretext) -> Iterator[None]:
        own = self.network, self.optimizer, self.loss
        self.network, self.optimizer, self.loss = pretext.network, pretext.optimizer, masked_error
        try:
            yield
        finally:
            self.network, self.optimizer, self.loss = own

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log the loss as stock does, and what it is of."""
        super().on_train_epoch_end(train_outputs)
        if self._pretext is not None:
            error = self.logger.get_value("train_losses", self.current_epoch)
            self.print_to_log_file(f"Restored: masked error {error:.4f} (train_loss below), before any label is seen")

    # checkpoints

    def extra_state(self) -> dict[str, Any]:
        """Return the head and the optimizer that restore images, too."""
        own = {} if self._pretext is None else {STATE: self._pretext.state()}
        return super().extra_state() | own

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`extra_state` returned."""
        super().load_extra_state(state)
        self._pretext_state = state.get(STATE)


def _finish(loader: Any) -> None:
    """End a loader's workers."""
    if isinstance(loader, MultiThreadedAugmenter):
        loader._finish()
