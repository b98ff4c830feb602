"""How often each task is trained."""

from __future__ import annotations

from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.errors import UserError


def sampling_shares(table: TaskTable, policy: str | None) -> list[float]:
    """Return each task's share of the training steps.

    Args:
        table: The tasks.
        policy: ``equal`` as UniSeg does; ``proportional`` to the cases; ``sqrt`` of the cases, which is MultiTalent's
            1/sqrt(n) for a case; ``weights`` of the manifest; None: weights if the manifest has any, else equal.

    Raises:
        UserError: ``weights``, but some task has none.
    """
    weights = [task.weight for task in table.tasks]
    if policy is None:
        policy = "weights" if any(weight is not None for weight in weights) else "equal"
        weights = [1.0 if weight is None else weight for weight in weights]
    if policy == "weights":
        without = [task.name for task, weight in zip(table.tasks, weights, strict=True) if weight is None]
        if without:
            raise UserError(
                f"{table.collection}: knob multi_dataset.sampling=weights expects a weight for every task, found none "
                f"for {', '.join(without)}. Give it in nnunet_ext collect (4:weight=2), or choose another policy."
            )
        return [float(weight) for weight in weights if weight is not None]
    power = {"equal": 0.0, "sqrt": 0.5, "proportional": 1.0}[policy]
    return [task.cases**power for task in table.tasks]
