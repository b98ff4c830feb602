"""Whether a member's preprocessed data are complete and those that its plans describe.

Members must have a marker (:mod:`nnunet_ext.data.preprocessed.marker`): with another member's plans, or after planning
again, their data have the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_ext.collection.collect.part import check_source_labels
from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.data.preprocessed.state import PreprocessedState
from nnunet_ext.data.same_images import raw_folder
from nnunet_ext.errors import UserError


def member_state(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> PreprocessedState:
    """Return the state of a member's data.

    Args:
        member_folder: The member's folder in nnUNet_preprocessed.
        plans: The member's plans.
        configuration: The configuration.
    """
    return PreprocessedState(member_folder, plans, configuration, raw_folder() / plans["dataset_name"])


def check_complete(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> None:
    """Refuse to train on data that are not as these plans describe them.

    Raises:
        UserError: Never preprocessed, deleted, incomplete, or planned, labelled or preprocessed again since.
    """
    state, command = member_state(member_folder, plans, configuration), _command(plans, configuration)
    problem = state.marker.problem(state.digest)
    if problem is not None:
        raise UserError(
            f"{state.place}: expected preprocessed data of plans {plans['plans_name']!r}, {problem}. Run {command}"
        )
    state.check(command)
    if state.raw is not None:
        check_source_labels(state.raw)


def is_complete(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> bool:
    """Whether preprocessing again would change nothing."""
    return member_state(member_folder, plans, configuration).is_done()


def write_marker(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> None:
    """Record that the data are complete, made from the member's files as they are now."""
    state = member_state(member_folder, plans, configuration)
    state.marker.begin(state.digest, state.stamps())
    state.marker.finish(state.digest)


def marked_cases(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> list[str]:
    """Return the cases that a marker lists, sorted; none without a marker."""
    return member_state(member_folder, plans, configuration).marker.cases()


def _command(plans: Mapping[str, Any], configuration: str) -> str:
    table, planner = TaskTable.read(plans), plans["experiment_planner_used"]
    if table is None:
        number = dataset_number(plans["dataset_name"])
        return f"nnunet_ext preprocess -d {number} -p {plans['plans_name']} -c {configuration}"
    command = f"nnunet_ext plan_and_preprocess -d {dataset_number(table.collection)} -pl {planner}"
    identifier = plans["configurations"][configuration]["data_identifier"]
    name = identifier.removesuffix(f"_{table.collection}_{configuration}")
    default = planner.removesuffix("Planner") + "Plans"
    return command if name == default else f"{command} -overwrite_plans_name {name}"
