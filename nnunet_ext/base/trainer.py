"""The trainer that every method's trainer derives from: stock nnU-Net plus knobs and checkpoints that survive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.collate_outputs import collate_outputs
from torch import distributed, nn
from torch._dynamo import OptimizedModule

from nnunet_ext.base.checkpoints import SafeCheckpoints
from nnunet_ext.base.gpu_memory import ChecksMemory
from nnunet_ext.base.init_from import init_from
from nnunet_ext.base.knobs import BLOCK, is_set, resolve
from nnunet_ext.base.loss_logger import PartsLogger
from nnunet_ext.base.optimizers import Schedule, kind_of, make_optimizer, make_schedule
from nnunet_ext.base.trained_on import KEY, check_trained_on, data_record, of_methods, recorded
from nnunet_ext.base.training_check import check_ddp_batch, check_deep_supervision, check_patch, check_sample
from nnunet_ext.base.validated_checkpoint import FINAL, write_validated_checkpoint
from nnunet_ext.data.environment import check_variables
from nnunet_ext.data.folds import check_fold
from nnunet_ext.data.preprocessed.state import PreprocessedState, preprocessed_cases
from nnunet_ext.data.preprocessed.use import release_data, use_data
from nnunet_ext.data.same_images import raw_folder
from nnunet_ext.errors import UserError
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.processes.run_lock import release_lock
from nnunet_ext.seeding.seeded_training import SeededTraining
from nnunet_ext.seeding.seeds import Purpose


class ExtTrainer(SafeCheckpoints, SeededTraining, ChecksMemory, nnUNetTrainer):
    """Stock nnU-Net plus the plans' knobs (:mod:`nnunet_ext.base.knobs`) and :class:`SafeCheckpoints`.

    With no knob set it trains exactly as ``nnUNetTrainer`` does; only checkpoints are written more often
    (``save_every``) and atomically.

    With the knob ``seed`` each batch depends on nothing but seed, rank and step, and each epoch's dropout and noise on
    seed, rank and epoch (:mod:`nnunet_ext.seeding.seeds`): a training that was killed and continued repeats an
    uninterrupted one, with any number of workers.

    A method's trainer declares in ``loss_parts`` the names of the parts of its loss, and its loss module leaves their
    values of the last training step in the dict ``parts``; they are then logged, saved and drawn. ``recipe`` holds the
    general knobs that it takes, instead of the defaults, where the plans name no optimiser.

    Raises:
        UserError: Unknown or illegal knob; results folder not writable; plans that leave a single deep-supervision
            scale (stock nnU-Net then trains on NaN); a patch that stock augmentation cannot blur; a batch that DDP
            ranks cannot share evenly under batch Dice (stock nnU-Net then crashes or hangs); folds that do not fit the
            preprocessed cases; preprocessed data that are not all there; more GPU memory needed than is free; another
            process trains in the fold's folder (:mod:`nnunet_ext.processes.run_lock`); continuing or validating with
            other knobs, plans or data than the checkpoint's, or from another trainer's checkpoint.
    """

    loss_parts: tuple[str, ...] = ()
    recipe: ClassVar[Mapping[str, Any]] = {}
    batch_size: int  # of this rank; stock code sets it

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  (nnU-Net's signature)
    ) -> None:
        check_variables()
        knobs = resolve(plans, configuration, self.recipe)
        self.continue_training = plans.get("continue_training", False)
        try:
            super().__init__(plans, configuration, fold, dataset_json, device)
        except OSError as error:
            raise UserError(
                f"{error.filename}: expected a results folder that can be written, got {error.strerror!r}. Set "
                f"nnUNet_results to a folder of yours, or free space."
            ) from error
        self.knobs = knobs
        self.num_epochs = knobs["num_epochs"]
        self.num_iterations_per_epoch = knobs["num_iterations_per_epoch"]
        self.num_val_iterations_per_epoch = knobs["num_val_iterations_per_epoch"]
        self.initial_lr = knobs["initial_lr"]
        self.weight_decay = knobs["weight_decay"]
        self.save_every = knobs["save_every"]
        self.logger.local_logger = PartsLogger(self.loss_parts)
        self._starts_from_checkpoint = False
        self._data_checked = False
        self._data_record: dict[str, Any] | None = None
        self._splits: dict[str, tuple[list[str], list[str]]] = {}  # by the folder of the data
        self._weights_of = FINAL
        self._warn_if_knobs_were_lost()
        if self.recipe and not is_set(plans, configuration, "optimizer"):
            taken = ", ".join(f"{name}={knobs[name]}" for name in self.recipe)
            self.print_to_log_file(f"The plans name no optimizer, so {type(self).__name__} takes its recipe: {taken}")

    def initialize(self) -> None:
        """Build network, optimiser and loss, after refusing what stock nnU-Net would crash on."""
        if self.enable_deep_supervision:
            check_deep_supervision(self.configuration_manager, self.plans_manager.plans_name, self.configuration_name)
        if self.is_ddp:
            check_ddp_batch(self.configuration_manager, distributed.get_world_size())
        self._check_any_data()
        self.seed(Purpose.WEIGHTS)
        super().initialize()

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Schedule]:
        """Stock SGD with its polynomial decay, or what the knobs ``optimizer``, ``lr_schedule`` and ``warm_up`` say."""
        stock, _ = super().configure_optimizers()
        weights, kind = self.network.parameters(), self.knobs["optimizer"]
        optimizer = make_optimizer(weights, stock, kind, self.initial_lr, self.weight_decay)
        return optimizer, make_schedule(optimizer, self.knobs, self.initial_lr, self.num_epochs)

    def do_split(self) -> tuple[list[str], list[str]]:
        """Stock split after :func:`check_fold`, read once: what is validated at the end is what was not trained on.

        Of several ranks the first one writes ``splits_final.json`` before the others read it.
        """
        place = self.preprocessed_dataset_folder
        if place not in self._splits:
            ranks = Ranks.now()
            if not ranks.is_first:
                ranks.wait()
            self.check_fold()
            self._splits[place] = super().do_split()
            if ranks.is_first:
                ranks.wait()
        train, val = self._splits[place]
        return list(train), list(val)

    def check_preprocessed(self) -> None:
        """Refuse preprocessed data that are not all there; looked at once, as a training may take days."""
        if not self._data_checked:
            state = self.preprocessed_state()
            use_data(state.place)
            state.check()
            self._data_checked = True

    def preprocessed_state(self) -> PreprocessedState:
        """Return the state of the data that are trained on."""
        folder = Path(self.preprocessed_dataset_folder_base)
        raw = raw_folder() / folder.name
        return PreprocessedState(folder, self.plans_manager.plans, self.configuration_name, raw)

    def check_fold(self) -> None:
        """Refuse a fold that does not fit the preprocessed cases."""
        folder, data = Path(self.preprocessed_dataset_folder_base), Path(self.preprocessed_dataset_folder)
        check_fold(folder, preprocessed_cases(data), self.fold)

    def get_tr_and_val_datasets(self) -> tuple[Any, Any]:
        """Stock datasets, after refusing data that nnU-Net could not write a prediction of."""
        train, val = super().get_tr_and_val_datasets()
        check_sample(train)
        return train, val

    def run_training(self) -> None:
        """Train as stock does, alone in the fold's folder."""
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
        source = self.knobs["init_from"]
        if source is not None and not self._starts_from_checkpoint:
            fates = init_from(self.bare_network, source, self.weights_to_start_from)
            self.print_to_log_file(f"Weights from {source}:\n" + "\n".join(fates), also_print_to_console=False)
            counts = Counter(fate.split()[0] for fate in fates)
            told = ", ".join(f"{counts[kind]} {kind}" for kind in ("adapted", "kept", "unused") if counts[kind])
            own = len(self.bare_network.state_dict())
            self.print_to_log_file(
                f"init_from: {counts['loaded']} of {own} tensors loaded{f', {told}' if told else ''} (see the log file)"
            )

    def weights_to_start_from(self, checkpoint: dict[str, Any]) -> Mapping[str, torch.Tensor]:
        """Return the weights of the checkpoint that the knob ``init_from`` names; what fits is taken."""
        return checkpoint["network_weights"]

    def train_step(self, batch: dict) -> dict:
        """Stock step; adds the loss's parts to what it returns."""
        output = super().train_step(batch)
        return output | {name: self.loss.parts[name].cpu().numpy() for name in self.loss_parts}

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log the loss as stock does, and each of its parts (mean over steps and ranks)."""
        super().on_train_epoch_end(train_outputs)
        outputs = collate_outputs(train_outputs)
        for name in self.loss_parts:
            values = outputs[name]
            if self.is_ddp:
                gathered: list[Any] = [None] * distributed.get_world_size()
                distributed.all_gather_object(gathered, values)
                values = np.concatenate(gathered)
            mean = float(np.mean(values))
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
        """Stock validation of whole data, alone in the fold's folder; a file by its summary names the checkpoint."""
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

    def check_checkpoint(self, checkpoint: dict[str, Any], filename: str) -> None:
        """Refuse another trainer's checkpoint, and one of other knobs, plans or data than today's."""
        super().check_checkpoint(checkpoint, filename)
        self.check_trained_on(checkpoint, filename)

    def check_trained_on(self, checkpoint: dict[str, Any], filename: str) -> None:
        """Refuse to go on with a checkpoint, or to validate it, on other plans or data than it was trained on."""
        data = self.data_record() if recorded(checkpoint) is not None else None
        plans, configuration = self.plans_manager.plans, self.configuration_name
        knobs = self._began_with(checkpoint), self.knobs
        if not self.continue_training:  # length, rate and the like do not change what is validated
            knobs = of_methods(knobs[0]), of_methods(knobs[1])
        check_trained_on(checkpoint, filename, plans, configuration, self.dataset_json, data, knobs)

    def _began_with(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """The knobs of a checkpoint."""
        arguments, recipe = checkpoint["init_args"], self.recipe
        if recipe and kind_of(checkpoint["optimizer_state"]) != recipe["optimizer"]:
            recipe = {}  # the run is older than the recipe, or its plans name an optimizer
        return resolve(arguments["plans"], arguments["configuration"], recipe)

    def data_record(self) -> dict[str, Any]:
        """Return what a checkpoint records of the data, as they were when this process first looked."""
        if self._data_record is None:
            self._data_record = data_record(Path(self.preprocessed_dataset_folder_base), self.splits())
        return self._data_record

    def splits(self) -> dict[str, tuple[list[str], list[str]]]:
        """Return training and validation cases by dataset."""
        return {self.plans_manager.dataset_name: self.do_split()}

    @property
    def bare_network(self) -> nn.Module:
        """The network without the wrappers of DDP and torch.compile."""
        network = self.network.module if self.is_ddp else self.network
        return network._orig_mod if isinstance(network, OptimizedModule) else network

    def _check_any_data(self) -> None:
        """Stock code looks into the folder for the kind of data, before anything is trained."""
        if not preprocessed_cases(Path(self.preprocessed_dataset_folder)):
            self.check_preprocessed()

    def _warn_if_knobs_were_lost(self) -> None:
        earlier = Path(self.output_folder_base) / "plans.json" if self.output_folder_base else None
        if BLOCK not in self.plans_manager.plans and earlier is not None and earlier.is_file():
            block = load_json(str(earlier)).get(BLOCK)
            if block:
                self.print_to_log_file(
                    f"WARNING: an earlier run in {self.output_folder_base} had the knobs {block}; the plans carry none "
                    f"now. Planning with nnUNetv2_plan_experiment drops them: plan with nnunet_ext plan_and_preprocess."
                )
