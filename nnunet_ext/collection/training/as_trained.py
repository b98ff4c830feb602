"""A collection's model as it was trained, even if planned again since: from its checkpoint and its task views."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_preprocessed, nnUNet_results
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.base.knobs import resolve
from nnunet_ext.collection.planning.member_state import check_complete, member_state
from nnunet_ext.collection.prediction.member_files import MemberFiles
from nnunet_ext.collection.prediction.task_views import fold_of_collection, view_folder
from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.collection.training.prepared_member import PreparedMember
from nnunet_ext.data.preprocessed.fast_configuration import FastConfiguration
from nnunet_ext.data.preprocessed.use import use_data


def is_trained(plans: Mapping[str, Any], trainer: str, configuration: str, fold: int | str) -> bool:
    """Whether the training of a collection's plans, by their name, has ended.

    Args:
        plans: The plans.
        trainer: Name of the trainer's class.
        configuration: Name of the configuration.
        fold: The fold.
    """
    if not nnUNet_results.is_set():
        return False
    return (fold_of_collection(plans, trainer, configuration, fold) / "checkpoint_final.pth").is_file()


def as_trained(
    checkpoint: Mapping[str, Any], table: TaskTable, plans: Mapping[str, Any] | None, model: Path
) -> dict[str, Any]:
    """Return the trainer attributes that must change to validate a checkpoint; none if it can be validated as it is.

    Args:
        checkpoint: The checkpoint.
        table: The tasks as planned now, bound to one if the model is a task view.
        plans: The plans as they are now; None: they cannot be trained.
        model: The model's folder.

    Raises:
        UserError: A view is missing, or a member's preprocessed data now belong to other plans.
    """
    trained, dataset_json = (checkpoint["init_args"][key] for key in ("plans", "dataset_json"))
    configuration = checkpoint["init_args"]["configuration"]
    tasks = TaskTable.read(trained)
    if tasks is None or tasks.bound is not None or tasks.collection != table.collection:
        return {}  # a checkpoint that will be refused
    if table.bound is None:
        if plans is not None and _of_every_run(trained) == _of_every_run(plans):
            return {}
        members = trained_members(trained, checkpoint["trainer_name"], configuration)
        data = members[0].context.preprocessed_dataset_folder
        return _attributes(trained, dataset_json, configuration) | {
            "members": members,
            "preprocessed_dataset_folder": data,
        }
    files, task = MemberFiles.viewed(model), tasks.tasks[tasks.index(table.bound)]
    if files is None or not files.fit(trained, task, configuration) or files.plans == _of_every_run(plans or {}):
        return {}
    folder = Path(str(nnUNet_preprocessed)) / task.dataset
    use_data(member_state(folder, files.plans, configuration).place)
    check_complete(folder, files.plans, configuration)
    return _attributes(dict(files.plans), dict(files.dataset_json), configuration)


def _attributes(plans: dict[str, Any], dataset_json: dict[str, Any], configuration: str) -> dict[str, Any]:
    manager = PlansManager(plans)
    return {
        "table": TaskTable.read(plans),
        "knobs": resolve(plans, configuration),
        "plans_manager": manager,
        "configuration_manager": FastConfiguration.of(manager.get_configuration(configuration)),
        "label_manager": manager.get_label_manager(dataset_json),
        "dataset_json": dataset_json,
    }


def _of_every_run(plans: Mapping[str, Any]) -> dict[str, Any]:
    """Plans without what nnU-Net records in them about a single run."""
    return {key: value for key, value in plans.items() if key != "continue_training"}


def trained_members(plans: Mapping[str, Any], trainer: str, configuration: str) -> tuple[PreparedMember, ...]:
    """Return the members as a model was trained on them, from its task views, even if planned again since.

    Args:
        plans: The plans in the model's checkpoint.
        trainer: Name of the trainer's class.
        configuration: Name of the configuration.

    Raises:
        UserError: A view is missing, or a member's preprocessed data now belong to other plans.
    """
    table = TaskTable.read(plans)
    assert table is not None
    model = fold_of_collection(plans, trainer, configuration, 0).parent
    members = []
    for task in table.tasks:
        view = view_folder(
            Path(str(nnUNet_results)), task, table.collection, trainer, plans["plans_name"], configuration
        )
        files = MemberFiles.trained(plans, task, configuration, view, model)
        members.append(PreparedMember.read(plans, task, configuration, files))
    return tuple(members)
