"""The trainer of all collection methods: several data sets, one network."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from torch import Tensor, distributed, nn

from nnunet_ext.base.checkpoints import read_checkpoint
from nnunet_ext.base.knobs import is_set
from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.collection.network.graph_limit import raise_graph_limit
from nnunet_ext.collection.network.task_network import TaskNetwork
from nnunet_ext.collection.prediction.task_views import renew_weights, write_views
from nnunet_ext.collection.prediction.view_weights import disk_cost
from nnunet_ext.collection.task_table import CONFIGURATION, TaskTable
from nnunet_ext.collection.training.as_trained import as_trained, is_trained
from nnunet_ext.collection.training.final_validation import final_validation
from nnunet_ext.collection.training.leakage import Split, check_leakage
from nnunet_ext.collection.training.loaders import MixedLoader, TaskLoader
from nnunet_ext.collection.training.mixed_loss import MixedLoss
from nnunet_ext.collection.training.prepared_member import PreparedMember
from nnunet_ext.collection.training.prepared_members import planned_members
from nnunet_ext.collection.training.sampling import sampling_shares
from nnunet_ext.collection.training.schedule import RoundRobin, TaskSchedule
from nnunet_ext.collection.training.task_logger import TaskLogger
from nnunet_ext.data.folds import FILE as FOLDS
from nnunet_ext.data.folds import check_fold
from nnunet_ext.data.preprocessed.state import preprocessed_cases
from nnunet_ext.data.preprocessed.use import release_data
from nnunet_ext.data.same_images import raw_folder
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.seeding.seeds import Purpose

STEPS_PER_TASK = 50  # in an epoch, as UniSeg


class MultiTaskTrainer(ExtTrainer):
    """One network for all tasks of a collection; a method derives from it and builds its :class:`TaskNetwork`.

    A batch holds one task. In its step the trainer *is* a trainer of that member: :meth:`on_task` gives it the
    member's plans, labels, data folder and stock loss, and nnU-Net's own methods do the work (steps, augmentation,
    pseudo-Dice, final validation), so labels, regions and the ignore label are the member's own. The order of tasks is
    decided beforehand, the same on all DDP ranks, each of which draws its own cases.

    An epoch has 50 steps for each task unless the plans set ``num_iterations_per_epoch``; every task is validated in
    every epoch. Knobs (plans block ``nnunet_ext.multi_dataset``): ``sampling``, ``mixed_batches``.

    With ``mixed_batches`` every training sample has its own task: :class:`MixedLoader` draws it, the network is told by
    ``set_sample_tasks``, and :class:`MixedLoss` takes each task's stock loss. Validation batches hold one task still.

    With plans of a *member*, which name a task, it is the trainer of a task view: it validates (``--val``) but refuses
    to train, which would overwrite the weights of all tasks.

    Raises:
        UserError: Plans of no collection; a configuration other than 3d_fullres; the manifest was edited or a member
            re-preprocessed or deleted since planning; continuing with another task table; mixed batches of images with
            different numbers of channels, or with batch Dice.
    """

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  (nnU-Net's signature)
    ) -> None:
        self.table = read_table(type(self).__name__, plans)
        _check_configuration(plans, configuration)
        self.members: tuple[PreparedMember, ...] = ()
        self._mixed: MixedLoss | None = None
        self._refusal: UserError | None = None
        try:
            if self.table.bound is None:
                self.members = planned_members(self.table, plans, configuration)
        except UserError as error:
            if not is_trained(plans, type(self).__name__, configuration, fold):
                raise
            self._refusal = error  # what is planned now cannot be trained; what was trained may be validated
        super().__init__(plans, configuration, fold, dataset_json, device)
        self._losses: list[nn.Module] = []
        self._leakage_checked = False
        if not self.members:
            return
        # where nnU-Net looks for the kind of data files
        self.preprocessed_dataset_folder = self.members[0].attributes["preprocessed_dataset_folder"]
        if not is_set(plans, configuration, "num_iterations_per_epoch"):
            self.num_iterations_per_epoch = STEPS_PER_TASK * len(self.members)
        self.num_val_iterations_per_epoch = max(self.num_val_iterations_per_epoch, len(self.members))
        self.task_logger = TaskLogger({member.task.name: tuple(member.classes) for member in self.members})
        self.logger.local_logger = self.task_logger

    @property
    def task_network(self) -> TaskNetwork:
        """The network without wrappers."""
        return self.bare_network  # type: ignore[return-value]

    @contextlib.contextmanager
    def on_task(self, number: int, **attributes: Any) -> Iterator[PreparedMember]:
        """Make this trainer one of task ``number`` for a while: network, plans, labels, data folder, loss.

        Args:
            number: The task's number.
            attributes: Further attributes to set for that while.
        """
        member = self.members[number]
        loss = {"loss": self._losses[number]} if number < len(self._losses) else {}
        during = {**member.attributes, **loss, **attributes}
        before = {name: self.__dict__[name] for name in during.keys() & self.__dict__.keys()}
        self.__dict__.update(during)
        if self.network is not None:
            self.task_network.set_task(number)
        try:
            yield member
        finally:
            for name in during.keys() - before.keys():  # methods
                del self.__dict__[name]
            self.__dict__.update(before)

    # before the training

    def initialize(self) -> None:
        """Prepare as stock does; torch.compile may make a graph for each kind of task in each mode."""
        self._refuse()
        managers = [member.attributes["label_manager"] for member in self.members] or [self.label_manager]
        kinds = [(each.num_segmentation_heads, each.has_regions, each.has_ignore_label) for each in managers]
        raise_graph_limit(self.table.channel_numbers, kinds)
        super().initialize()

    def on_train_start(self) -> None:
        """Prepare the training; refused on plans of a task view."""
        if self.table.bound is not None:
            raise UserError(
                f"plans {self.plans_manager.plans_name!r} name the task {self.table.bound!r}: training on them would "
                f"overwrite the weights of all tasks. Train the collection ({self.table.collection}), or this data set "
                f"alone with -tr nnUNetTrainer."
            )
        self._refuse()
        super().on_train_start()
        self._write_views(finished=False)
        weights = sum(weight.numel() * weight.element_size() for weight in self.network.parameters())
        sizes = [weights * (3 if self.knobs["optimizer"] == "AdamW" else 2)] * 2  # final and best, with the optimizer's
        how = self.knobs["multi_dataset"]["view_weights"]
        self.print_to_log_file(disk_cost(sizes, len(self.members), how, Path(self.output_folder)))

    def _refuse(self) -> None:
        """Raise what was found wrong with the members, if anything was."""
        if self._refusal is not None:
            raise self._refusal

    def get_dataloaders(self) -> tuple[Any, Any]:
        """One stock loader and transform chain for each member, behind one ordered pool of workers each way."""
        self._check_leakage()
        train, val, validated = [], [], []
        for number in range(len(self.members)):
            with self.on_task(number):
                trains, validates = map(bool, self.do_split())
                if not trains:
                    raise UserError(
                        f"{self.members[number]}: expected training cases in fold {self.fold}, found none. Train "
                        f"another fold, or collect without this task."
                    )
                if validates:
                    validated.append(number)
                else:
                    self.print_to_log_file(f"WARNING: {self.members[number]} has no validation case in this fold")
                loaders = self.bare_loaders()
            train.append(loaders[0])
            val.append(loaders[1])
        if not validated:
            raise UserError(
                f"{self.table.collection}: expected a task with validation cases in fold {self.fold}, found none. "
                f"Train another fold."
            )
        shares = sampling_shares(self.table, self.knobs["multi_dataset"]["sampling"])
        steps = self.num_iterations_per_epoch
        make: Callable[..., TaskLoader] = TaskLoader
        if self._mixed is not None:
            sizes, rank = self._batch_sizes()
            before, together = sum(sizes[:rank]), sum(sizes)
            make = partial(
                MixedLoader, batch_size=self.batch_size, before=before, together=together, heads=self.table.heads
            )
            steps *= together
        schedule = TaskSchedule(shares, steps, self._shared_seed())
        return (
            self.pool(partial(make, train, schedule), Purpose.TRAINING, self.num_iterations_per_epoch),
            self.pool(
                partial(TaskLoader, val, RoundRobin(validated)),
                Purpose.VALIDATION,
                self.num_val_iterations_per_epoch,
                share=2,
            ),
        )

    def check_preprocessed(self) -> None:
        """Refuse a view's data that are not all there; those of members were looked at when they were read."""
        if not self.members:
            super().check_preprocessed()

    def check_fold(self) -> None:
        """Refuse a fold that does not fit the preprocessed cases of the member."""
        folder, data = Path(self.preprocessed_dataset_folder_base), Path(self.preprocessed_dataset_folder)
        check_fold(folder, preprocessed_cases(data), self.fold, of_member=bool(self.members))

    def _check_leakage(self) -> None:
        """Refuse a fold that trains on a case in one member and validates on it in another; looked at once."""
        if self.fold == "all" or self._leakage_checked:
            return
        splits = []
        for number, member in enumerate(self.members):
            with self.on_task(number):
                train, val = self.do_split()
                folds = read_json(Path(self.preprocessed_dataset_folder_base) / FOLDS)
                splits.append(Split(member.task.dataset, self.dataset_json, train, val, len(folds)))
        check_leakage(raw_folder(), self.table.collection, self.fold, splits)
        self._leakage_checked = True

    def get_tr_and_val_datasets(self) -> tuple[nnUNetBaseDataset, nnUNetBaseDataset]:
        """Stock data sets; where a fold has no validation case the second is a stand-in that is never drawn from."""
        train, val = super().get_tr_and_val_datasets()
        return train, val if val.identifiers else train

    def _batch_sizes(self) -> tuple[list[int], int]:
        """Return the batch sizes of all ranks, and this rank."""
        if not self.is_ddp:
            return [self.batch_size], 0
        sizes: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(sizes, int(self.batch_size))
        return sizes, distributed.get_rank()

    def _shared_seed(self) -> int:
        """Seed of the task schedule: the knob's, or one that rank 0 draws for all."""
        if self.knobs["seed"] is not None:
            return self.knobs["seed"]
        drawn = [int(np.random.SeedSequence().generate_state(1)[0])]
        if self.is_ddp:
            distributed.broadcast_object_list(drawn)
        return drawn[0]

    def _build_loss(self) -> nn.Module:
        """Stock loss of every task; the steps take their own."""
        if not self.members:
            return super()._build_loss()
        losses = []
        for number in range(len(self.members)):
            with self.on_task(number):
                losses.append(super()._build_loss())
        self._losses = losses
        if not self.knobs["multi_dataset"]["mixed_batches"]:
            return losses[0]
        self._mixed = MixedLoss(losses)
        return self._mixed

    # steps

    def train_step(self, batch: dict) -> dict:
        """Stock step of the batch's task, or of its tasks."""
        if self._mixed is not None:
            self.task_network.set_sample_tasks(batch["task"])
            self._mixed.on_batch(batch["task"], batch["valid"])
            return super().train_step(batch) | {"by_task": self._mixed.by_task}
        with self.on_task(batch["task"]):
            return super().train_step(batch) | {"task": batch["task"]}

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log the loss as stock does, and each task's."""
        super().on_train_epoch_end(train_outputs)
        if self._mixed is None:
            losses = [(output["task"], float(output["loss"])) for output in train_outputs]
        else:
            found = [(task, float(loss)) for output in train_outputs for task, loss in enumerate(output["by_task"])]
            losses = [(task, loss) for task, loss in found if not math.isnan(loss)]
        if self.is_ddp:
            gathered: list[Any] = [None] * distributed.get_world_size()
            distributed.all_gather_object(gathered, losses)
            losses = [pair for of_rank in gathered for pair in of_rank]
        for number, member in enumerate(self.members):
            theirs = [loss for task, loss in losses if task == number]
            self.task_logger.log_loss(member.task.name, theirs, self.current_epoch)

    def validation_step(self, batch: dict) -> dict:
        """Stock step of the batch's task; its statistics take their place among those of all (task, class) pairs."""
        with self.on_task(batch["task"]) as member:
            output = super().validation_step(batch)
        place = self.task_logger.places[member.task.name]
        for name in ("tp_hard", "fp_hard", "fn_hard"):
            everything = np.zeros(self.task_logger.total, output[name].dtype)
            everything[place] = output[name]
            output[name] = everything
        return output

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        """Pseudo-Dice of all (task, class) pairs, as stock does; a class that did not occur has none (NaN)."""
        with np.errstate(invalid="ignore"):
            super().on_validation_epoch_end(val_outputs)
        for line in self.task_logger.lines():
            self.print_to_log_file(line)

    # checkpoints and views

    def save_checkpoint(self, filename: str) -> None:
        """Save, and let the task views follow."""
        super().save_checkpoint(filename)
        if self.members and Ranks.now().is_first:
            renew_weights(self.plans_manager.plans, type(self).__name__, self.configuration_name, self.fold)

    def on_train_end(self) -> None:
        """Finish as stock does, and write the task views."""
        super().on_train_end()
        self._write_views(finished=True)

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Stock validation of every member, into its task view; then one table over all tasks."""
        if not self.members:
            super().perform_actual_validation(save_probabilities)
            return
        try:
            with self.fold_locked():
                self._validate_members(save_probabilities)
        finally:
            release_data()

    def _validate_members(self, save_probabilities: bool) -> None:
        self._check_leakage()  # of --val; a training has checked it
        self._write_views(finished=True)
        final_validation(self, partial(self.validate_dataset, save_probabilities))

    def _write_views(self, *, finished: bool) -> None:
        """Write the views; at the end a full disk must not cost the validation."""
        ranks, files = Ranks.now(), [member.files for member in self.members]
        ranks.wait()  # every rank writes the model's dataset.json, to which the first one adds
        wait = ranks.patient_wait()  # checkpoints of many views may be copied
        if ranks.is_first:
            model = self.plans_manager.plans, type(self).__name__, self.configuration_name, self.fold
            try:
                write_views(*model, files, finished=finished)
            except UserError as error:
                if not finished:
                    raise
                self.print_to_log_file(f"WARNING: {error}")
        wait()

    def _load_file(self, file: Path, told: str | None = None) -> None:
        """Load a checkpoint; to validate a model (``--val``), be as it was trained, whatever was planned since."""
        if self.continue_training:
            self._refuse()
        if not self.continue_training and not self.was_initialized:
            checkpoint = read_checkpoint(file)
            now = dict(self.plans_manager.plans) if self._refusal is None else None
            if checkpoint["trainer_name"] == type(self).__name__:
                began = as_trained(checkpoint, self.table, now, Path(self.output_folder_base))
                self.__dict__.update(began)
                self._refusal = None if began else self._refusal
        super()._load_file(file, told)

    def splits(self) -> dict[str, tuple[list[str], list[str]]]:
        """Return training and validation cases by member."""
        found = {}
        for number, member in enumerate(self.members):
            with self.on_task(number):
                found[member.task.dataset] = self.do_split()
        return found

    def check_trained_on(self, checkpoint: dict[str, Any], filename: str) -> None:
        """Refuse another task table; and, but for a view, whose plans are its own, other knobs, plans or data."""
        written = TaskTable.read(checkpoint["init_args"]["plans"])
        if written is not None:
            written = replace(written, bound=self.table.bound)  # a view's checkpoint is the collection's
        if not self.table.fits(written):
            what = "tasks" if _names(written) != _names(self.table) else "channels, heads or preprocessing of the tasks"
            raise UserError(
                f"{filename}: expected a checkpoint of the {what} {_names(self.table)} as planned now, found one of "
                f"{_names(written)} as planned before. To go on from its weights, set the knob init_from to this file."
            )
        if self.table.bound is None:
            super().check_trained_on(checkpoint, filename)

    def weights_to_start_from(self, checkpoint: dict[str, Any]) -> Mapping[str, Tensor]:
        """Return the checkpoint's weights; another collection's are put where their tasks, told by name, are now."""
        weights = super().weights_to_start_from(checkpoint)
        theirs = TaskTable.read(checkpoint["init_args"]["plans"])
        if theirs is None:
            return weights
        names = [task.name for task in theirs.tasks]
        places = [names.index(task.name) if task.name in names else None for task in self.table.tasks]
        return self.task_network.adopt(weights, theirs.heads, places)


def read_table(trainer: str, plans: Mapping[str, Any]) -> TaskTable:
    """Return the task table of some plans.

    Raises:
        UserError: They belong to no collection.
    """
    table = TaskTable.read(plans)
    if table is None:
        raise UserError(
            f"{trainer}: expected plans of a collection, got {plans.get('plans_name')!r}, which have no task table. "
            f"Make a collection (nnunet_ext collect) and plan it (nnunet_ext plan_and_preprocess)."
        )
    return table


def bind(network: TaskNetwork, table: TaskTable) -> TaskNetwork:
    """Bind a network to the task that a view's plans name, if they name one."""
    if table.bound is not None:
        network.set_task(table.index(table.bound))
    return network


def _names(table: TaskTable | None) -> str:
    return "no collection" if table is None else ", ".join(task.name for task in table.tasks)


def _check_configuration(plans: Mapping[str, Any], configuration: str) -> None:
    if configuration not in plans["configurations"]:
        raise UserError(
            f"plans {plans['plans_name']!r}: expected configuration {CONFIGURATION}, got {configuration!r}. The "
            f"members of a collection share one 3d network; 2d and cascades do not exist for them. Train "
            f"{CONFIGURATION}."
        )
