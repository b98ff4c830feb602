"""Whether plans, and a checkpoint, belong to the tasks that a trainer trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nnunet_ext.collection.task_table import CONFIGURATION, TaskTable
from nnunet_ext.errors import UserError


def check_configuration(plans: Mapping[str, Any], configuration: str) -> None:
    """Refuse any configuration but the one that collections have.

    Raises:
        UserError: The plans do not hold it.
    """
    if configuration not in plans["configurations"]:
        raise UserError(
            f"plans {plans['plans_name']!r}: expected configuration {CONFIGURATION}, got {configuration!r}. The "
            f"members of a collection share one 3d network; 2d and cascades do not exist for them. Train "
            f"{CONFIGURATION}."
        )


def check_table(table: TaskTable, plans: Mapping[str, Any], filename: str) -> None:
    """Refuse a checkpoint of other tasks.

    Args:
        table: The tasks as planned now.
        plans: Plans in the checkpoint.
        filename: The checkpoint.

    Raises:
        UserError: Its tasks, their channels, heads or preprocessing are others.
    """
    written = TaskTable.read(plans)
    if written is not None:
        written = replace(written, bound=table.bound)  # a view's checkpoint is the collection's
    if not table.fits(written):
        what = "tasks" if _names(written) != _names(table) else "channels, heads or preprocessing of the tasks"
        raise UserError(
            f"{filename}: expected a checkpoint of the {what} {_names(table)} as planned now, found one of "
            f"{_names(written)} as planned before. To start from its weights, set the knob init_from to this file."
        )


def _names(table: TaskTable | None) -> str:
    return "no collection" if table is None else ", ".join(task.name for task in table.tasks)
