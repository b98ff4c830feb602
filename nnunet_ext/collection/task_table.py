"""The task table that a collection's plans carry, from planning to inference.

It is stored in the plans under the key ``"collection"``: nnU-Net keeps unknown keys, saves them with the model and
hands them to ``build_network_architecture``, which is told nothing else about tasks::

    "collection": {"format": 1, "name": "Dataset900_MOTS", "tasks": [{"name": "liver", "dataset": "Dataset003_Liver",
                   "channels": 1, "heads": 3, "cases": 131, "weight": null, "preprocessing": "5f0c..."}, ...],
                   "manifest": {"tasks": {...}, ...}, "task": "liver"}

``"task"`` is in a member's plans only: a model with such plans is bound to that task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from nnunet_ext.errors import UserError, nearest

BLOCK = "collection"
FORMAT = 1
CONFIGURATION = "3d_fullres"  # the only one that collections have
SHARED = ("patch_size", "batch_size", "architecture")  # of that configuration, by all members


@dataclass(frozen=True)
class Task:
    """One task of a collection.

    Args:
        name: Its name.
        dataset: The member, ``Dataset003_Liver``.
        channels: Image channels.
        heads: Logits: classes with background, or regions; no ignore label.
        cases: Training cases.
        weight: Sampling weight of the manifest, or None.
        preprocessing: Hash of everything that the member's preprocessing depends on.
    """

    name: str
    dataset: str
    channels: int
    heads: int
    cases: int
    weight: float | None = None
    preprocessing: str = ""


@dataclass(frozen=True)
class TaskTable:
    """All tasks of a collection; a task's place in the table is its number in the network.

    Args:
        collection: ``Dataset900_MOTS``.
        tasks: The tasks.
        bound: The one task that member plans are for, or None in the collection's own plans.
        manifest: The manifest that was planned.
    """

    collection: str
    tasks: tuple[Task, ...]
    bound: str | None = None
    manifest: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, plans: Mapping[str, Any]) -> TaskTable | None:
        """Return the table of some plans, or None if they belong to no collection.

        Raises:
            UserError: A newer nnunet_ext wrote it.
        """
        block = plans.get(BLOCK)
        if block is None:
            return None
        if block["format"] > FORMAT:
            raise UserError(
                f"plans {plans.get('plans_name')!r}: expected a task table of format {FORMAT}, got "
                f"{block['format']!r}. Install a newer nnunet_ext."
            )
        tasks = tuple(Task(**task) for task in block["tasks"])
        return cls(block["name"], tasks, block.get("task"), block.get("manifest"))

    def as_json(self) -> dict[str, Any]:
        """Return the table's entry in the plans."""
        block = {"format": FORMAT, "name": self.collection, "tasks": [asdict(task) for task in self.tasks]}
        optional = {"manifest": self.manifest, "task": self.bound}
        return block | {key: value for key, value in optional.items() if value is not None}

    def bound_to(self, name: str) -> TaskTable:
        """Return the table of the plans of the member behind task ``name``."""
        self.index(name)
        return replace(self, bound=name)

    def index(self, name: str) -> int:
        """Return a task's number.

        Raises:
            UserError: No such task.
        """
        names = [task.name for task in self.tasks]
        if name not in names:
            raise UserError(f"{self.collection}: unknown task {name!r}. {nearest(name, names)}")
        return names.index(name)

    def fits(self, other: TaskTable | None) -> bool:
        """Whether weights that were trained with one table work the same with the other.

        So the tasks, their order, heads and preprocessing are equal, and so is the task that both are bound to; numbers
        of cases and weights may differ.
        """

        def what_counts(table: TaskTable) -> list[tuple[Any, ...]]:
            return [(task.name, task.dataset, task.channels, task.heads, task.preprocessing) for task in table.tasks]

        return (
            other is not None
            and (self.collection, self.bound) == (other.collection, other.bound)
            and what_counts(self) == what_counts(other)
        )

    @property
    def heads(self) -> tuple[int, ...]:
        """Logits of each task."""
        return tuple(task.heads for task in self.tasks)

    @property
    def max_heads(self) -> int:
        """Logits of the task that has the most."""
        return max(self.heads)

    @property
    def channel_numbers(self) -> tuple[int, ...]:
        """The numbers of image channels that occur, ascending."""
        return tuple(sorted({task.channels for task in self.tasks}))


def read_table(trainer: str, plans: Mapping[str, Any]) -> TaskTable:
    """Return the task table of some plans.

    Raises:
        UserError: They belong to no collection.
    """
    table = TaskTable.read(plans)
    if table is None:
        raise UserError(
            f"{trainer}: expected plans of a collection, got {plans.get('plans_name')!r}, which have no task table. "
            f"Make a collection (nnunet_ext collect) and plan it (nnunet_ext plan_and_preprocess)."
        )
    return table


def member_plans_name(plans_name: str, collection: str) -> str:
    """Return the name of the members' plans: it says which collection they belong to."""
    return f"{plans_name}_{collection}"
