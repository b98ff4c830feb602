"""Which tasks are predicted together, so that they fit the memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from nnunet_ext.base.free_memory import free_memory
from nnunet_ext.collection.prediction.pass_memory import PassMemory
from nnunet_ext.collection.prediction.task_model import TaskModel

SHARE = 0.25  # of the free memory; the rest is for the network, reading the next image and writing


def task_chunks(
    tasks: Sequence[TaskModel], memory: PassMemory, heads_at_once: int | None = None, gpu_free: int | None = None
) -> Iterator[list[TaskModel]]:
    """Yield the tasks in groups that fit the memory; a task that does not fit is a group of its own.

    The encoder runs once per group.

    Args:
        tasks: The tasks.
        memory: What they take.
        heads_at_once: Most heads of a group; None: what takes a quarter of the memory that is free.
        gpu_free: Free bytes of the GPU's memory, if the sums of logits are kept there.
    """
    free = free_memory()
    limit = math.inf if free is None else SHARE * free

    def fit(group: list[TaskModel]) -> bool:
        heads = sum(task.heads for task in group)
        if heads_at_once is not None:
            return heads <= heads_at_once
        sums = heads * memory.sums
        whole = sum(task.heads for task in group if task.why_stock is not None)
        others = whole * memory.whole + len(group) * memory.label_map
        if gpu_free is None:
            return sums + others <= limit
        return sums <= SHARE * gpu_free and others <= limit

    chunk: list[TaskModel] = []
    for task in tasks:
        if chunk and not fit([*chunk, task]):
            yield chunk
            chunk = []
        chunk.append(task)
    if chunk:
        yield chunk
