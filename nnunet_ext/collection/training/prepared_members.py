"""All members of a collection as they are planned now, to be trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_raw

from nnunet_ext.base.knobs import resolve
from nnunet_ext.collection.planning.as_planned import check_as_planned, check_member_as_planned
from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.collection.training.mixed_batches import check_mixed_batches
from nnunet_ext.collection.training.prepared_member import PreparedMember
from nnunet_ext.collection.training.sampling import sampling_shares


def planned_members(
    table: TaskTable, plans: Mapping[str, Any], configuration: str, *, mixes: bool = False
) -> tuple[PreparedMember, ...]:
    """Return the members to be trained, as they are planned now.

    Args:
        table: The collection's tasks.
        plans: Its plans.
        configuration: Name of the configuration.
        mixes: Batches are mixed whatever the knob says, each of one number of channels.

    Raises:
        UserError: They cannot be trained together; the manifest, a member's labels, plans or data changed since
            planning.
    """
    raw = Path(str(nnUNet_raw)) if nnUNet_raw.is_set() else None
    if raw is not None and table.manifest is not None:
        check_as_planned(raw / table.collection, table.manifest)
    sampling_shares(table, resolve(dict(plans), configuration)["multi_dataset"]["sampling"])
    members = tuple(PreparedMember.read(plans, task, configuration) for task in table.tasks)
    check_mixed_batches(table, dict(plans), configuration, members, always=mixes)
    if raw is not None:
        for member in members:
            check_member_as_planned(raw, member.task.dataset, member.files.dataset_json)
    return members
