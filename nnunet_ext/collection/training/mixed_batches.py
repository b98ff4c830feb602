"""Whether the samples of a batch may be of several tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnunet_ext.base.knobs import resolve
from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.collection.training.prepared_member import PreparedMember
from nnunet_ext.errors import UserError

KNOB = "knob multi_dataset.mixed_batches"


def check_mixed_batches(
    table: TaskTable,
    plans: dict[str, Any],
    configuration: str,
    members: Sequence[PreparedMember],
    *,
    always: bool = False,
) -> None:
    """Refuse the knob if one batch cannot hold all tasks: it is one tensor, and its loss is a mean over samples.

    Args:
        table: The tasks.
        plans: The collection's plans.
        configuration: Name of the configuration.
        members: The members.
        always: The trainer mixes whatever the knob says, and makes each batch of one number of channels.

    Raises:
        UserError: Tasks with different numbers of channels; batch Dice.
    """
    if not (always or resolve(plans, configuration)["multi_dataset"]["mixed_batches"]):
        return
    if not always and len(table.channel_numbers) > 1:
        channels = ", ".join(f"{task.name} {task.channels}" for task in table.tasks)
        raise UserError(
            f"{table.collection}: {KNOB} expects tasks with the same number of channels, found {channels}. Set it to "
            f"false, or leave tasks out."
        )
    with_batch_dice = [member for member in members if member.context.configuration_manager.batch_dice]
    if with_batch_dice:
        raise UserError(
            f"{table.collection}: {'this trainer' if always else KNOB} expects batch_dice false in the plans of all "
            f"members, found true for {', '.join(map(str, with_batch_dice))}: Dice over a batch would mix tasks. Set "
            f"{'it' if always else 'one of the two'} to false."
        )
