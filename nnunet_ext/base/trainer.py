"""The trainer that every method's trainer derives from: stock nnU-Net plus knobs and crash-safe checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.collate_outputs import collate_outputs
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import distributed, nn
from torch._dynamo import OptimizedModule

from nnunet_ext.base.checked_data import CheckedData
from nnunet_ext.base.checkpoints import SafeCheckpoints
from nnunet_ext.base.gpu_memory import ChecksMemory
from nnunet_ext.base.init_from import init_from
from nnunet_ext.base.knobs import BLOCK, is_set, resolve, resolve_for
from nnunet_ext.base.loss_logger import PartsLogger
from nnunet_ext.base.method import Method, check_method, register
from nnunet_ext.base.method_loss import MethodLoss, TrainingStep
from nnunet_ext.base.optimizers import Schedule, make_optimizer, make_schedule
from nnunet_ext.base.trained_on import KEY, images_seen
from nnunet_ext.base.training_check import check_ddp_batch, check_deep_supervision, check_patch
from nnunet_ext.base.validated_checkpoint import FINAL, write_validated_checkpoint
from nnunet_ext.data.environment import check_variables
from nnunet_ext.data.preprocessed.fast_configuration import FastConfiguration
from nnunet_ext.data.preprocessed.use import release_data
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import write_json
from nnunet_ext.networks.unet import planned_unet
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.processes.run_lock import release_lock
from nnunet_ext.seeding.seeded_training import SeededTraining
from nnunet_ext.seeding.seeds import Purpose
from nnunet_ext.strategies.augments import Augments
from nnunet_ext.strategies.fine_tunes import FineTunes
from nnunet_ext.strategies.keeps_classes import KeepsClasses
from nnunet_ext.weights.source_checkpoint import source_checkpoint
from nnunet_ext.weights.transfer import Transfer


class ExtTrainer(
    KeepsClasses, FineTunes, Augments, CheckedData, SafeCheckpoints, SeededTraining, ChecksMemory, nnUNetTrainer
):
    """Stock nnU-Net plus the plans' knobs (:mod:`nnunet_ext.base.knobs`) and :class:`SafeCheckpoints`.

    With no knob set it trains exactly as ``nnUNetTrainer`` does; only checkpoints are written more often
    (``save_every``) and atomically.

    With the knob ``seed`` each batch depends on nothing but seed, rank and step, and each epoch's dropout and noise on
    seed, rank and epoch (:mod:`nnunet_ext.seeding.seeds`): a training that was killed and resumed repeats an
    uninterrupted one, with any number of workers.

    A method's trainer names its card in ``method``, or carries it in ``card`` (that of another package), puts its
    network on the plans' U-Net in :meth:`network_on`, and returns a :class:`MethodLoss` from ``_build_loss``, whose
    terms are logged, saved and drawn. ``recipe`` holds the general knobs that it uses instead of the defaults if the
    plans name no optimizer, ``recipe_with`` those that it uses if they name one.

    Raises:
        UserError: Unknown or illegal knob; results folder not writable; plans that leave a single deep-supervision
            scale (stock nnU-Net then trains on NaN); a patch that stock augmentation cannot blur; a batch that DDP
            ranks cannot share evenly under batch Dice (stock nnU-Net then crashes or hangs); folds that do not fit the
            preprocessed cases; incomplete preprocessed data; more GPU memory needed than is free; another process
            trains in the fold's folder (:mod:`nnunet_ext.processes.run_lock`); resuming or validating with knobs, plans
            or data that are not the checkpoint's, or from another trainer's checkpoint.
    """

    method: ClassVar[str] = ""  # key of its card and of its block of knobs
    card: ClassVar[Method | None] = None
    recipe: ClassVar[Mapping[str, Any]] = {}
    recipe_with: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    batch_size: int  # of this rank; stock code sets it

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the card that a class carries known."""
        super().__init_subclass__(**kwargs)
        if cls.card is not None:
            register(cls.card)
            cls.method = cls.card.key

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  (nnU-Net's signature)
    ) -> None:
        check_variables()
        check_method(type(self))
        knobs = resolve(plans, configuration, self.recipe, self.recipe_with)
        self.continue_training = plans.get("continue_training", False)
        try:
            super().__init__(plans, configuration, fold, dataset_json, device)
        except OSError as error:
            raise UserError(
                f"{error.filename}: expected a results folder that can be written, got {error.strerror!r}. Set "
                f"nnUNet_results to a folder that you can write to, or free space."
            ) from error
        self.configuration_manager = FastConfiguration.of(self.configuration_manager)  # of which validation exports
        self.knobs = knobs
        self.num_epochs = knobs["num_epochs"]
        self.num_iterations_per_epoch = knobs["num_iterations_per_epoch"]
        self.num_val_iterations_per_epoch = knobs["num_val_iterations_per_epoch"]
        self.initial_lr = knobs["initial_lr"]
        self.weight_decay = knobs["weight_decay"]
        self.save_every = knobs["save_every"]
        self.logger.local_logger = PartsLogger()
        self._starts_from_checkpoint = False
        self._weights_of = FINAL
        self._warn_if_knobs_were_lost()
        named = is_set(plans, configuration, "optimizer")
        recipe = self.recipe_with.get(knobs["optimizer"], {}) if named else self.recipe
        if recipe:
            which = f"the optimizer {knobs['optimizer']}" if named else "no optimizer"
            taken = ", ".join(f"{name}={knobs[name]}" for name in recipe)
            self.print_to_log_file(f"The plans name {which}, so {type(self).__name__} uses its recipe: {taken}")

    def initialize(self) -> None:
        """Build network, optimizer and loss, after refusing what stock nnU-Net would crash on."""
        if self.enable_deep_supervision:
            check_deep_supervision(self.configuration_manager, self.plans_manager.plans_name, self.configuration_name)
        self._check_batch()
        self.check_any_data()
        self.seed(Purpose.WEIGHTS)
        super().initialize()
        self.logger.local_logger.add(self.loss_parts)

    @classmethod
    def network_on(cls, unet: Any, knobs: Mapping[str, Any]) -> nn.Module:
        """Return the method's network; by default the U-Net itself.

        Args:
            unet: The PlainConvUNet or ResidualEncoderUNet that the plans describe.
            knobs: The method's own.
        """
        return unet

    @classmethod
    def has_own_network(cls) -> bool:
        """Whether the network differs from the plans' network."""
        return cls.network_on.__func__ is not ExtTrainer.network_on.__func__  # type: ignore[attr-defined]

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Build the network that the plans describe, and the method's on it (:meth:`network_on`).

        Raises:
            UserError: The method needs another kind of network, or its knobs do not fit together.
        """
        sizes = num_input_channels, num_output_channels, enable_deep_supervision
        if not cls.has_own_network():
            return super().build_network_architecture(plans_manager, configuration_manager, *sizes)
        unet = planned_unet(plans_manager, configuration_manager, *sizes)
        try:
            return cls.network_on(unet, resolve_for(plans_manager, configuration_manager)[cls.method])
        except ValueError as error:
            raise UserError(f"plans {plans_manager.plans_name!r}, knobs {cls.method}.*: {error}.") from error

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Schedule]:
        """Stock SGD with its polynomial decay, or what the knobs ``optimizer``, ``lr_schedule`` and ``warm_up`` say."""
        stock, _ = super().configure_optimizers()
        groups = self.parameter_groups()
        weights, kind = self.network.parameters(), self.knobs["optimizer"]
        optimizer = make_optimizer(weights, stock, kind, self.initial_lr, self.weight_decay, groups)
        if groups is not None:
            self.keep_stock_state(optimizer)
        return optimizer, make_schedule(optimizer, self.knobs, self.initial_lr, self.num_epochs, self.released_in)

    def run_training(self) -> None:
        """Train as stock does, with the fold's folder locked."""
        self.lock_fold()
        try:
            super().run_training()
        except BaseException:
            release_lock(Path(self.output_folder))
            release_data()
            raise

    def on_train_start(self) -> None:
        """Stock preparation, then the weights of the knob ``init_from`` if this is a fresh start."""
        check_patch(self.configuration_manager.patch_size, self.plans_manager.plans_name, self.configuration_name)
        self.check_preprocessed()
        if not self.was_initialized:
            self.initialize()
        self.check_gpu_memory()
        self.continue_training = False  # from here on the file asked for is the file loaded: --c --val_best
        super().on_train_start()
        self.my_init_kwargs.setdefault(KEY, self.data_record())
        if (source := self.knobs["init_from"]) is not None and not self._starts_from_checkpoint:
            own = self.my_init_kwargs, self.knobs["init_from_classes"], self.knobs["fine_tune"]["transfer"]
            done = init_from(self.bare_network, source, self.weights_to_start_from, *own)
            self.print_to_log_file("\n".join([f"Weights from {source}:", *done.lines()]), also_print_to_console=False)
            if Ranks.now().is_first:
                write_json(Path(self.output_folder) / "init_from.json", {"file": source} | done.as_json(), indent=1)
            self.print_to_log_file(f"init_from: {done.summary()} (see the log file and init_from.json)")
            self.on_weights_loaded(done)
            if warning := images_seen(source_checkpoint(source)[1], self.my_init_kwargs[KEY]):
                self.print_to_log_file(f"WARNING: init_from: {warning}")

    def on_weights_loaded(self, done: Transfer) -> None:
        """Refuse to keep weights frozen that the knob ``init_from`` did not fill."""
        self.check_frozen([fate.tensor for fate in done.fates if fate.kind == "fresh"])

    def weights_to_start_from(self, checkpoint: dict[str, Any]) -> Mapping[str, torch.Tensor]:
        """Return the weights of the checkpoint that the knob ``init_from`` names; those that fit are used."""
        return checkpoint["network_weights"]

    def train_step(self, batch: dict) -> dict:
        """Stock step; a method's loss gets a :class:`TrainingStep`, and its terms are added to what is returned."""
        batch = self.with_kept_classes(batch)
        if not isinstance(self.loss, MethodLoss):
            return super().train_step(batch)
        step = self.training_step(batch)
        output = super().train_step(batch | {"target": step})
        return output | {name: step.parts[name].cpu().numpy() for name in self.loss.parts}

    def training_step(self, batch: dict) -> TrainingStep:
        """Return what the method's loss gets besides the network's output; a method may add to the labels.

        Args:
            batch: What :meth:`train_step` was given.
        """
        target = batch["target"]
        return target if isinstance(target, TrainingStep) else TrainingStep(target)

    @property
    def loss_parts(self) -> tuple[str, ...]:
        """Names of the terms of the loss that are logged."""
        return self.loss.parts if isinstance(self.loss, MethodLoss) else ()

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log the loss as stock does, and each of its parts (mean over steps and ranks)."""
        super().on_train_epoch_end(train_outputs)
        outputs = collate_outputs(train_outputs)
        for name in self.loss_parts:
            values = outputs[name]
            mean = float(np.mean(np.concatenate(Ranks.now().gather(np.atleast_1d(values)))))
            self.logger.log(name, mean, self.current_epoch)
            self.print_to_log_file(f"{name} {mean:.4f}")

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Load a checkpoint of this trainer (see :class:`SafeCheckpoints`)."""
        super().load_checkpoint(*args, **kwargs)
        self._starts_from_checkpoint = True
        source = next(iter((*args, *kwargs.values())), None)
        self._weights_of = Path(source).name if isinstance(source, str | Path) else FINAL

    def on_train_end(self) -> None:
        """Finish as stock does, with a final checkpoint."""
        super().on_train_end()
        self._weights_of = FINAL

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Stock validation of complete data, in a locked folder; a file beside its summary names the checkpoint."""
        try:
            self.validate_dataset(save_probabilities)
        finally:
            release_data()

    def validate_dataset(self, save_probabilities: bool) -> None:
        """Validate on one dataset; its preprocessed data stay in use."""
        self.check_preprocessed()
        with self.fold_locked():
            super().perform_actual_validation(save_probabilities)
            if Ranks.now().is_first:
                write_validated_checkpoint(Path(self.output_folder) / "validation", self._weights_of)

    @property
    def bare_network(self) -> nn.Module:
        """The network without the wrappers of DDP and torch.compile."""
        network = self.network.module if self.is_ddp else self.network
        return network._orig_mod if isinstance(network, OptimizedModule) else network

    def _check_batch(self) -> None:
        """Refuse a batch that ranks cannot share."""
        if self.is_ddp:
            check_ddp_batch(self.configuration_manager, distributed.get_world_size())

    def _warn_if_knobs_were_lost(self) -> None:
        earlier = Path(self.output_folder_base) / "plans.json" if self.output_folder_base else None
        if BLOCK not in self.plans_manager.plans and earlier is not None and earlier.is_file():
            block = load_json(str(earlier)).get(BLOCK)
            if block:
                self.print_to_log_file(
                    f"WARNING: an earlier run in {self.output_folder_base} had the knobs {block}; the plans carry none "
                    f"now. Planning with nnUNetv2_plan_experiment drops them: plan with nnunet_ext plan_and_preprocess."
                )
