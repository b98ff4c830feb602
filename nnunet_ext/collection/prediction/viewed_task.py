"""A task as its view describes it: what prediction needs besides the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_ext.collection.planning.pooled_fingerprint import INTENSITIES
from nnunet_ext.collection.task_table import Task, TaskTable
from nnunet_ext.data.dataset_json import dataset_number, read_dataset_json
from nnunet_ext.data.preprocessed.data_hash import OF_CONFIGURATION, OF_PLANS
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_object

IMAGE_ALONE = ("ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization", "RGBTo01Normalization")


@dataclass(frozen=True, repr=False)
class ViewedTask:
    """One task with the plans and the dataset.json of its view.

    Args:
        task: Its row of the task table.
        number: Its number in the network.
        plans: Plans of the view.
        dataset_json: dataset.json of the view.
        configuration: Name of the configuration.
    """

    task: Task
    number: int
    plans: Mapping[str, Any]
    dataset_json: Mapping[str, Any]
    configuration: str

    @classmethod
    def read(cls, table: TaskTable, name: str, view: Path, configuration: str) -> ViewedTask:
        """Read a view.

        Args:
            table: Task table of the collection's model.
            name: Name of the task.
            view: Its folder.
            configuration: Name of the configuration.

        Raises:
            UserError: There is no such view, or it belongs to another collection.
        """
        number = table.index(name)
        for file in (view / "plans.json", view / "dataset.json"):
            if not file.is_file():
                raise UserError(
                    f"{file}: expected the view of task {name!r}, found no file. Run nnunet_ext task_views -d "
                    f"{dataset_number(table.collection)}"
                )
        again = f"Run nnunet_ext task_views -d {dataset_number(table.collection)}"
        file = view / "plans.json"
        try:
            plans = read_object(file)
            fits = table.bound_to(name).fits(TaskTable.read(plans))
            file = view / "dataset.json"
            description = read_dataset_json(file)
        except (UserError, KeyError, TypeError) as error:
            raise UserError(f"{file}: expected that of task {name!r}, found it damaged. {again}") from error
        if not fits:
            raise UserError(
                f"{view / 'plans.json'}: expected a view of task {name!r} with the tasks of the model, found others. "
                f"{again}"
            )
        return cls(table.tasks[number], number, plans, description, configuration)

    @cached_property
    def plans_manager(self) -> PlansManager:
        """nnU-Net's form of the plans."""
        return PlansManager(dict(self.plans))

    @cached_property
    def configuration_manager(self) -> ConfigurationManager:
        """nnU-Net's form of the configuration."""
        return self.plans_manager.get_configuration(self.configuration)

    @property
    def file_ending(self) -> str:
        """Ending of images and labels."""
        return self.dataset_json["file_ending"]

    @property
    def preprocessing(self) -> str:
        """What a preprocessed image depends on; tasks that agree on it share the image and the encoder's work."""
        configuration = self.plans["configurations"][self.configuration]
        found: dict[str, Any] = {key: self.plans.get(key) for key in OF_PLANS if key != INTENSITIES}
        found |= {key: configuration.get(key) for key in OF_CONFIGURATION}
        found[INTENSITIES] = {
            channel: self.plans[INTENSITIES][str(channel)]
            for channel, scheme in enumerate(configuration["normalization_schemes"])
            if scheme not in IMAGE_ALONE
        }
        return json.dumps([self.task.channels, self.file_ending, found], sort_keys=True)
