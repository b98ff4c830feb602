"""Markers that say which plans a member's preprocessed data belong to, and whether they are all there.

Stock preprocessing deletes the data folder first and may be killed half-way. So the marker is removed before and
written after preprocessing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_ext.base.data_marker import DataMarker
from nnunet_ext.base.preprocessing_hash import preprocessing_hash
from nnunet_ext.errors import UserError
from nnunet_ext.multi_dataset.task_table import TaskTable


def write_marker(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> None:
    """Record that the data are complete.

    Args:
        member_folder: The member's folder in nnUNet_preprocessed.
        plans: The member's plans.
        configuration: The configuration that was preprocessed.
    """
    _marker(member_folder, plans, configuration).finish(_digest(member_folder, plans, configuration))


def remove_marker(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> None:
    """Record that the data are about to change."""
    _marker(member_folder, plans, configuration).remove()


def is_complete(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> bool:
    """Whether the data are there as these plans describe them."""
    return _problem(member_folder, plans, configuration) is None


def check_complete(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> None:
    """Refuse to train on data that are not there as these plans describe them.

    Raises:
        UserError: Never preprocessed, deleted, or planned or preprocessed again since.
    """
    problem = _problem(member_folder, plans, configuration)
    if problem is not None:
        raise UserError(
            f"{_data(member_folder, plans, configuration)}: expected preprocessed data of plans "
            f"{plans['plans_name']!r}, {problem}. Run {_command(plans, configuration)}"
        )


def marked_cases(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> list[str]:
    """Return the cases that a marker lists, sorted; none without a marker."""
    return _marker(member_folder, plans, configuration).cases()


def _problem(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> str | None:
    return _marker(member_folder, plans, configuration).problem(_digest(member_folder, plans, configuration))


def _command(plans: Mapping[str, Any], configuration: str) -> str:
    table, planner = TaskTable.read(plans), plans["experiment_planner_used"]
    if table is None:
        return (
            f"nnUNetv2_preprocess -d {plans['dataset_name'][7:10]} -plans_name {plans['plans_name']} -c {configuration}"
        )
    command = f"nnunet_ext plan_and_preprocess -d {int(table.collection[7:10])} -pl {planner}"
    name = _identifier(plans, configuration).removesuffix(f"_{table.collection}_{configuration}")
    default = planner.removesuffix("Planner") + "Plans"
    return command if name == default else f"{command} -overwrite_plans_name {name}"


def _digest(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> str:
    return preprocessing_hash(member_folder, plans, plans["configurations"][configuration])


def _marker(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> DataMarker:
    return DataMarker(_data(member_folder, plans, configuration))


def _data(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> Path:
    return member_folder / _identifier(plans, configuration)


def _identifier(plans: Mapping[str, Any], configuration: str) -> str:
    return plans["configurations"][configuration]["data_identifier"]
