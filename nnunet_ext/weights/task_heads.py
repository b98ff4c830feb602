"""The segmentation heads of one task in the network of a collection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnunet_ext.weights.roles import COLLECTION, TASK


def task_heads(weights: Mapping[str, Any], plans: Any) -> dict[str, Any]:
    """Return the weights of a task's view with the heads of its task alone; other weights as they are.

    A view's checkpoint is that of the whole collection. MultiHead's heads have the rows of all tasks, one task after
    the other; UniSeg's have as many rows as the task with the most classes, and each task uses the first of them.

    Args:
        weights: Tensors by name.
        plans: The view's, with the block ``collection`` that names its task.

    Example:
        >>> import torch
        >>> from nnunet_ext.weights.task_heads import task_heads
        >>> tasks = [{"name": "liver", "heads": 2}, {"name": "heart", "heads": 3}]
        >>> weights = {"decoder.seg_layers.0.bias": torch.arange(5.0)}
        >>> task_heads(weights, {"collection": {"task": "heart", "tasks": tasks}})
        {'decoder.seg_layers.0.bias': tensor([2., 3., 4.])}
    """
    block = plans.get(COLLECTION, {}) if isinstance(plans, Mapping) else {}
    if TASK not in block:
        return dict(weights)
    heads = {task["name"]: task["heads"] for task in block["tasks"]}
    own = heads[block[TASK]]
    before = sum(list(heads.values())[: list(heads).index(block[TASK])])
    first = {
        sum(heads.values()): before,
        max(heads.values()): 0,
    }  # of the first row, by the number of rows; one task: 0

    def chosen(name: str, value: Any) -> Any:
        if "seg_layers" not in name.split(".") or getattr(value, "ndim", 0) == 0 or len(value) not in first:
            return value
        start = first[len(value)]
        return value[start : start + own]

    return {name: chosen(name, value) for name, value in weights.items()}
