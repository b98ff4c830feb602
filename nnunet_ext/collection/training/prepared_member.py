"""A member as a collection's trainer needs it: its plans, labels and preprocessed data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_ext.collection.planning.member_state import check_complete, member_state
from nnunet_ext.collection.prediction.member_files import MemberFiles
from nnunet_ext.collection.task_table import Task, TaskTable, member_plans_name
from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.data.preprocessed.fast_configuration import FastConfiguration
from nnunet_ext.data.preprocessed.use import use_data
from nnunet_ext.errors import UserError


@dataclass(frozen=True)
class MemberContext:
    """The attributes of nnU-Net's trainer that say which dataset it works on."""

    plans_manager: PlansManager
    configuration_manager: ConfigurationManager
    dataset_json: dict[str, Any]
    label_manager: LabelManager
    preprocessed_dataset_folder_base: str
    preprocessed_dataset_folder: str
    dataset_class: type

    @contextlib.contextmanager
    def on(self, trainer: Any, **further: Any) -> Iterator[None]:
        """``with context.on(trainer):`` the trainer works on this dataset, and is restored afterwards.

        Args:
            trainer: A trainer of nnU-Net.
            further: More attributes to set meanwhile, including methods.
        """
        during = {each.name: getattr(self, each.name) for each in fields(self)} | further
        before = {name: trainer.__dict__[name] for name in during.keys() & trainer.__dict__.keys()}
        trainer.__dict__.update(during)
        try:
            yield
        finally:
            for name in during.keys() - before.keys():  # methods
                del trainer.__dict__[name]
            trainer.__dict__.update(before)


@dataclass(frozen=True, repr=False)
class PreparedMember:
    """One member.

    Args:
        task: Its line of the task table.
        context: What nnU-Net's trainer knows about it.
        files: What its task view holds.
    """

    task: Task
    context: MemberContext
    files: MemberFiles

    @classmethod
    def read(
        cls, collection_plans: Mapping[str, Any], task: Task, configuration: str, files: MemberFiles | None = None
    ) -> PreparedMember:
        """Read a member's plans and dataset.json from nnU-Net's preprocessed folder.

        Args:
            collection_plans: The collection's plans.
            task: The task.
            configuration: Name of the configuration.
            files: Plans and dataset.json that were read before, of a trained model.

        Raises:
            UserError: Its plans are missing or were not planned with the collection's, or its data are not those that
                the plans describe.
        """
        table = TaskTable.read(collection_plans)
        assert table is not None
        files = files or MemberFiles.planned(collection_plans, task)
        plans, dataset_json = dict(files.plans), dict(files.dataset_json)
        folder = Path(str(nnUNet_preprocessed)) / task.dataset
        file = folder / f"{member_plans_name(collection_plans['plans_name'], table.collection)}.json"
        again = f"Plan the collection again: nnunet_ext plan_and_preprocess -d {dataset_number(table.collection)}"
        use_data(member_state(folder, plans, configuration).place)
        check_complete(folder, plans, configuration)
        if not table.bound_to(task.name).fits(TaskTable.read(plans)):
            raise UserError(
                f"{file}: expected plans of task {task.name!r} that were planned with the collection's, found others: "
                f"planning was interrupted, or the member was planned again since. {again}"
            )
        if difference := files.difference(collection_plans, configuration):
            raise UserError(
                f"{file}: {difference}: one of the two was edited. Edit the plans of all members alike, or plan the "
                f"collection again."
            )
        plans_manager = PlansManager(plans)
        configuration_manager = FastConfiguration.of(plans_manager.get_configuration(configuration))
        data = str(folder / configuration_manager.data_identifier)
        return cls(
            task,
            MemberContext(
                plans_manager=plans_manager,
                configuration_manager=configuration_manager,
                dataset_json=dataset_json,
                label_manager=plans_manager.get_label_manager(dataset_json),
                preprocessed_dataset_folder_base=str(folder),
                preprocessed_dataset_folder=data,
                dataset_class=infer_dataset_class(data),
            ),
            files,
        )

    @property
    def classes(self) -> dict[str, int | tuple[int, ...]]:
        """Return {name: label or region} of the foreground classes, in the order of nnU-Net's statistics."""
        return foreground_classes(self.context.dataset_json)

    def __repr__(self) -> str:
        return f"{self.task.name} ({self.task.dataset})"
