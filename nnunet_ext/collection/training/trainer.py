"""The trainer of all collection methods: several datasets, one network."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from torch import nn

from nnunet_ext.base.checkpoints import read_checkpoint
from nnunet_ext.base.knobs import is_set
from nnunet_ext.collection.network.graph_limit import raise_graph_limit
from nnunet_ext.collection.task_table import read_table
from nnunet_ext.collection.training.as_trained import as_trained, is_trained
from nnunet_ext.collection.training.leakage import Split, check_splits
from nnunet_ext.collection.training.loaders import MixedLoader, TaskLoader, samples_of_rank
from nnunet_ext.collection.training.mixed_loss import MixedLoss, MixedStep
from nnunet_ext.collection.training.prepared_member import PreparedMember
from nnunet_ext.collection.training.prepared_members import planned_members
from nnunet_ext.collection.training.sampling import sampling_shares
from nnunet_ext.collection.training.schedule import RoundRobin, TaskSchedule, shared_seed
from nnunet_ext.collection.training.table_check import check_configuration, check_table
from nnunet_ext.collection.training.task_logger import TaskLogger
from nnunet_ext.collection.training.viewed_training import ViewedTraining
from nnunet_ext.data.folds import FILE as FOLDS
from nnunet_ext.data.folds import check_fold
from nnunet_ext.data.preprocessed.state import preprocessed_cases
from nnunet_ext.data.same_images import raw_folder
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.seeding.seeds import Purpose

STEPS_PER_TASK = 50  # in an epoch, as UniSeg


class MultiTaskTrainer(ViewedTraining):
    """One network for all tasks of a collection; a method derives from it and builds its :class:`TaskNetwork`.

    A batch holds one task. In its step the trainer *is* a trainer of that member: :meth:`on_task` gives it the
    member's plans, labels, data folder and stock loss, and nnU-Net's own methods do the work (steps, augmentation,
    pseudo-Dice, final validation), so labels, regions and the ignore label are the member's own. The order of tasks is
    decided beforehand, the same on all DDP ranks, each of which draws its own cases.

    An epoch has 50 steps for each task unless the plans set ``num_iterations_per_epoch``; every task is validated in
    every epoch. Knobs (plans block ``nnunet_ext.multi_dataset``): ``sampling``, ``mixed_batches``.

    With ``mixed_batches`` every training sample has its own task: :class:`MixedLoader` draws it, the network is told by
    ``set_sample_tasks``, and :class:`MixedLoss` takes each task's stock loss. Validation batches still hold one task.

    With plans of a *member*, which name a task, it is the trainer of a task view: it validates (``--val``) but refuses
    to train, which would overwrite the weights of all tasks.

    Raises:
        UserError: Plans that are not a collection's; a configuration other than 3d_fullres; the manifest was edited or
            a member re-preprocessed or deleted since planning; continuing with another task table; mixed batches of
            images with different numbers of channels, or with batch Dice.
    """

    always_mixes: ClassVar[bool] = False  # batches are mixed whatever the knob says, each of one number of channels

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  (nnU-Net's signature)
    ) -> None:
        self.table = read_table(type(self).__name__, plans)
        check_configuration(plans, configuration)
        self.members: tuple[PreparedMember, ...] = ()
        self._mixed: MixedLoss | None = None
        self._refusal: UserError | None = None
        try:
            if self.table.bound is None:
                self.members = planned_members(self.table, plans, configuration, mixes=self.always_mixes)
        except UserError as error:
            if not is_trained(plans, type(self).__name__, configuration, fold):
                raise
            self._refusal = error  # what is planned now cannot be trained; what was trained may be validated
        super().__init__(plans, configuration, fold, dataset_json, device)
        self._losses: list[nn.Module] = []
        self._leakage_checked = False
        if not self.members:
            return
        # where nnU-Net looks for the type of the data files
        self.preprocessed_dataset_folder = self.members[0].context.preprocessed_dataset_folder
        if not is_set(plans, configuration, "num_iterations_per_epoch"):
            self.num_iterations_per_epoch = STEPS_PER_TASK * len(self.members)
        self.num_val_iterations_per_epoch = max(self.num_val_iterations_per_epoch, len(self.members))
        self.task_logger = TaskLogger({member.task.name: tuple(member.classes) for member in self.members})
        self.logger.local_logger = self.task_logger

    @contextlib.contextmanager
    def on_task(self, number: int, **attributes: Any) -> Iterator[PreparedMember]:
        """Temporarily make this trainer one of task ``number``: network, plans, labels, data folder, loss.

        Args:
            number: The task's number.
            attributes: Further attributes to set meanwhile.
        """
        member = self.members[number]
        loss = {"loss": self._losses[number]} if number < len(self._losses) else {}
        if self.network is not None:
            self.task_network.set_task(number)
        with member.context.on(self, **loss, **attributes):
            yield member

    # before the training

    def initialize(self) -> None:
        """Prepare as stock does; torch.compile may make a graph for each kind of task in each mode."""
        self._refuse()
        managers = [member.context.label_manager for member in self.members] or [self.label_manager]
        kinds = [(each.num_segmentation_heads, each.has_regions, each.has_ignore_label) for each in managers]
        raise_graph_limit(self.table.channel_numbers, kinds)
        super().initialize()

    def on_train_start(self) -> None:
        """Prepare the training; refused on plans of a task view."""
        if self.table.bound is not None:
            raise UserError(
                f"plans {self.plans_manager.plans_name!r} name the task {self.table.bound!r}: training on them would "
                f"overwrite the weights of all tasks. Train the collection ({self.table.collection}), or this dataset "
                f"alone with -tr nnUNetTrainer."
            )
        self._refuse()
        super().on_train_start()

    def _refuse(self) -> None:
        """Raise what was found wrong with the members, if anything was."""
        if self._refusal is not None:
            raise self._refusal

    def get_dataloaders(self) -> tuple[Any, Any]:
        """One stock loader and transform chain per member; one ordered worker pool each for training and validation."""
        self.check_leakage()
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
        validation = partial(TaskLoader, val, RoundRobin(validated))
        return (
            self.pool(self.training_loader(train), Purpose.TRAINING, self.num_iterations_per_epoch),
            self.pool(validation, Purpose.VALIDATION, self.num_val_iterations_per_epoch, share=2),
        )

    def training_loader(self, loaders: list[Any]) -> Callable[..., TaskLoader]:
        """Return what makes the training batches, of each member's stock loader."""
        if self._mixed is None:
            return partial(TaskLoader, loaders, self.schedule(1))
        mine = samples_of_rank(int(self.batch_size))
        return partial(MixedLoader, loaders, self.schedule(mine["together"]), heads=self.table.heads, **mine)

    def schedule(self, together: int) -> Callable[[int], int]:
        """Return each step's task, or with mixed batches that of each of its ``together`` samples."""
        shares = sampling_shares(self.table, self.knobs["multi_dataset"]["sampling"])
        return TaskSchedule(shares, self.num_iterations_per_epoch * together, shared_seed(self.knobs["seed"]))

    def check_preprocessed(self) -> None:
        """Refuse a view's incomplete data; those of members were checked when they were read."""
        if not self.members:
            super().check_preprocessed()

    def check_fold(self) -> None:
        """Refuse a fold that does not fit the preprocessed cases of the member."""
        folder, data = Path(self.preprocessed_dataset_folder_base), Path(self.preprocessed_dataset_folder)
        check_fold(folder, preprocessed_cases(data), self.fold, of_member=bool(self.members))

    def check_leakage(self) -> None:
        """Refuse a fold that trains on a case in one member and validates on it in another; checked once."""
        if self.fold == "all" or self._leakage_checked:
            return
        splits = []
        for number, member in enumerate(self.members):
            with self.on_task(number):
                train, val = self.do_split()
                folds = read_json(Path(self.preprocessed_dataset_folder_base) / FOLDS)
                splits.append(Split(member.task.dataset, self.dataset_json, train, val, len(folds)))
        check_splits(raw_folder(), self.table.collection, self.fold, splits)
        self._leakage_checked = True

    def get_tr_and_val_datasets(self) -> tuple[nnUNetBaseDataset, nnUNetBaseDataset]:
        """Stock datasets; where a fold has no validation case the second is a stand-in that is never drawn from."""
        train, val = super().get_tr_and_val_datasets()
        return train, val if val.identifiers else train

    def _build_loss(self) -> nn.Module:
        """Stock loss of every task; the steps take their own."""
        if not self.members:
            return super()._build_loss()
        self._losses = losses = self.member_losses()
        if not (self.always_mixes or self.knobs["multi_dataset"]["mixed_batches"]):
            return losses[0]
        self._mixed = MixedLoss(losses)
        return self._mixed

    def member_losses(self, **attributes: Any) -> list[nn.Module]:
        """Return a stock loss of each member; further attributes of the trainer are set meanwhile."""
        losses = []
        for number in range(len(self.members)):
            with self.on_task(number, **attributes):
                losses.append(super()._build_loss())
        return losses

    # steps

    def train_step(self, batch: dict) -> dict:
        """Stock step of the batch's task, or of its tasks."""
        if self._mixed is not None:
            self.task_network.set_sample_tasks(batch["task"])
            step = self.mixed_step(batch)
            return super().train_step(batch | {"target": step}) | {"by_task": list(step.by_task.items())}
        with self.on_task(batch["task"]):
            return super().train_step(batch) | {"task": batch["task"]}

    def mixed_step(self, batch: dict) -> MixedStep:
        """Return the targets of a mixed batch."""
        return MixedStep(batch["target"], batch["task"], batch["valid"])

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log the loss as stock does, and each task's."""
        super().on_train_epoch_end(train_outputs)
        if self._mixed is None:
            losses = [(output["task"], float(output["loss"])) for output in train_outputs]
        else:
            losses = [pair for output in train_outputs for pair in output["by_task"]]
        losses = [pair for of_rank in Ranks.now().gather(losses) for pair in of_rank]
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

    def _load_file(self, file: Path, told: str | None = None) -> None:
        """Load a checkpoint; to validate a model (``--val``), be as it was trained, even if planned again since."""
        if self.continue_training:
            self._refuse()
        if not self.continue_training and not self.was_initialized:
            checkpoint = read_checkpoint(file, trust=True)
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
        """Refuse another task table and, except for a view, whose plans are its own, other knobs, plans or data."""
        check_table(self.table, checkpoint["init_args"]["plans"], filename)
        if self.table.bound is None:
            super().check_trained_on(checkpoint, filename)
