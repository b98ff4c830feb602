"""``nnunet_ext train``."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

from nnunet_ext import sockets
from nnunet_ext.base.knobs import parse, put
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.options import check_words, device, new_or_file, whole
from nnunet_ext.cli.common.options import fold as fold_kind
from nnunet_ext.cli.planning.plan_collection import WHY_ONE_CONFIGURATION
from nnunet_ext.collection.task_table import CONFIGURATION, TaskTable, member_plans_name
from nnunet_ext.data.folds import check_fold, folds_of
from nnunet_ext.data.preprocessed.state import PreprocessedState
from nnunet_ext.errors import UserError, nearest
from nnunet_ext.stock import folders
from nnunet_ext.stock.entry_points import check_device, option, run_stock
from nnunet_ext.stock.lookup import check_trainer, ext_trainer

KINDS = {"fold": fold_kind, "-num_gpus": whole(1), "-device": device, "-pretrained_weights": new_or_file}
TOGETHER = (("--c", "--val"), ("--c", "-pretrained_weights"), ("--val_best", "--disable_checkpointing"))


@dataclass
class Train(Command):
    """Set nnUNet_extTrainer, check the arguments and pass them all to nnUNetv2_train."""

    name: ClassVar[str] = "train"
    has_workers: ClassVar[bool] = True
    after_interruption: ClassVar[str] = "Run the same command with --c to resume from the last checkpoint."

    words: list[str]

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Train:
        """Keep all arguments: the stock entry point reads them."""
        return cls(list(arguments))

    def run(self) -> int:
        """Train with nnU-Net's entry point."""
        sockets.open_door()
        if not {"-h", "--help"} & set(self.words):
            self.check()
        from nnunetv2.run.run_training import run_training_entry

        run_stock("nnUNetv2_train", run_training_entry, self.words)
        return 0

    def check(self, settings: Sequence[str] = ()) -> None:
        """Refuse what would make nnU-Net end with a traceback.

        Args:
            settings: Knobs, ``KEY=VALUE``, that plans will have in addition.

        Raises:
            UserError: The first problem.
        """
        if len(self.words) < 3 or any(word.startswith("-") for word in self.words[:3]):
            raise UserError(
                f"expected DATASET CONFIGURATION FOLD first, got {' '.join(self.words[:3])!r}. "
                f"Example: nnunet_ext train 4 3d_fullres 0 -tr BANetTrainer -p LitePlans -device cpu"
            )
        dataset, configuration, fold = self.words[:3]
        check_words(["fold", fold, *self.words[3:]], KINDS)
        for pair in TOGETHER:
            if set(pair) <= set(self.words):
                raise UserError(f"{' '.join(pair)}: expected one of them, got both. Leave one out.")
        folders.folder("nnUNet_results", writable=True)
        check_trainer(option(self.words, "-tr", "nnUNetTrainer") or "")
        plans_name = option(self.words, "-p", "nnUNetPlans") or ""
        plans = folders.plans(dataset, plans_name)
        table = TaskTable.read(plans)
        _check_configuration(plans, table, configuration)
        if table is not None and table.bound is None:
            _check_collection_trainer(option(self.words, "-tr", "nnUNetTrainer") or "", table)
            _check_members(table, plans, fold)
        else:
            _check_preprocessed(option(self.words, "-tr", "nnUNetTrainer") or "", dataset, plans, configuration, fold)
            if "--val" not in self.words:
                _check_patch(option(self.words, "-tr", "nnUNetTrainer") or "", plans, configuration)
                put(plans := deepcopy(plans), parse(settings))
                _check_unlabelled(option(self.words, "-tr", "nnUNetTrainer") or "", dataset, plans, configuration)
        check_device(option(self.words, "-device", "cuda"))
        pretrained = option(self.words, "-pretrained_weights")
        if pretrained is not None:
            _check_pretrained(option(self.words, "-tr", "nnUNetTrainer") or "", pretrained)


def _check_configuration(plans: dict[str, Any], table: TaskTable | None, configuration: str) -> None:
    unknown = configuration not in plans["configurations"]
    if table is not None and configuration != CONFIGURATION and (unknown or table.bound is None):
        raise UserError(f"configuration {configuration!r}: {WHY_ONE_CONFIGURATION} Train {CONFIGURATION}.")
    if unknown:
        raise UserError(
            f"plans {plans['plans_name']!r}: unknown configuration {configuration!r}. "
            f"{nearest(configuration, plans['configurations'])}"
        )


def _check_collection_trainer(name: str, table: TaskTable) -> None:
    from nnunet_ext.collection.training.trainer import MultiTaskTrainer

    fitting = [
        other for other in sockets.names("trainers") if issubclass(sockets.load("trainers", other), MultiTaskTrainer)
    ]
    kind = ext_trainer(name)
    if kind is None or not issubclass(kind, MultiTaskTrainer):
        raise UserError(
            f"-tr {name}: expected a trainer of collections, because {table.collection} is one. Take "
            f"{', '.join(fitting)}, or train a member alone."
        )


def _check_members(table: TaskTable, plans: dict[str, Any], fold: str) -> None:
    """Check the members' data: a collection has none of its own."""
    from nnunet_ext.collection.planning.member_state import check_complete, marked_cases
    from nnunet_ext.collection.training.leakage import Split, check_splits
    from nnunet_ext.data.same_images import raw_folder

    splits = []
    for task in table.tasks:
        theirs = folders.plans(task.dataset, member_plans_name(plans["plans_name"], table.collection))
        place = folders.dataset("nnUNet_preprocessed", task.dataset)
        check_complete(place, theirs, CONFIGURATION)
        cases = marked_cases(place, theirs, CONFIGURATION)
        check_fold(place, cases, fold, of_member=True)
        folds = folds_of([place], cases)
        if fold.isdecimal() and int(fold) < len(folds):  # a split that nnU-Net will draw is checked by the trainer
            description = folders.read_json(place / "dataset.json")
            train, val = (folds[int(fold)][key] for key in ("train", "val"))
            splits.append(Split(task.dataset, description, train, val, len(folds)))
    if fold.isdecimal():
        check_splits(raw_folder(), table.collection, int(fold), splits)


def _check_preprocessed(trainer: str, dataset: str, plans: dict[str, Any], configuration: str, fold: str) -> None:
    folder, raw = folders.dataset("nnUNet_preprocessed", dataset), folders.if_there("nnUNet_raw")
    state = PreprocessedState(folder, plans, configuration, raw / folder.name if raw else None)
    kind = ext_trainer(trainer)
    if state.has_images_alone and kind is not None and not kind.needs_labels:
        return
    state.check()
    check_fold(folder, sorted(state.found), fold)


def _check_patch(trainer: str, plans: dict[str, Any], configuration: str) -> None:
    """Refuse what our trainers would refuse at the start of training."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunet_ext.base.training_check import check_patch

    if ext_trainer(trainer) is not None:
        patch_size = PlansManager(plans).get_configuration(configuration).patch_size
        check_patch(patch_size, plans["plans_name"], configuration)


def _check_unlabelled(trainer: str, dataset: str, plans: dict[str, Any], configuration: str) -> None:
    from nnunet_ext.semi_supervised.trainer import SemiSupervisedTrainer

    kind = ext_trainer(trainer)
    if kind is not None and issubclass(kind, SemiSupervisedTrainer):
        planned, raw = folders.dataset("nnUNet_preprocessed", dataset), folders.if_there("nnUNet_raw")
        kind.unlabelled_cases(planned, plans, configuration, raw / planned.name if raw else None)


def _check_pretrained(trainer: str, file: str) -> None:
    """Refuse what nnU-Net's all-or-nothing loader would break on: it runs outside of any trainer."""
    from nnunet_ext.base.checkpoints import read_checkpoint

    wrote = read_checkpoint(file).get("trainer_name")
    kind = ext_trainer(trainer)
    if kind is not None and wrote != trainer and kind.has_own_network():
        raise UserError(
            f"-pretrained_weights {file}: expected a checkpoint of {trainer}, found one of {wrote}. Set the knob "
            f"init_from to this file instead: it takes what fits."
        )
