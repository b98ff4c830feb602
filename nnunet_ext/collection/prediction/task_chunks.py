"""Which tasks are predicted together, so that their logits fit the memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from nnunet_ext.base.free_memory import free_memory
from nnunet_ext.collection.prediction.viewed_task import ViewedTask

BYTES = 4  # of a logit: two of half precision, the sum over folds and that of one
SHARE = 0.25  # of the free memory; the rest is for resampling and writing


def task_chunks(
    tasks: Sequence[ViewedTask], size: Sequence[int], heads_at_once: int | None = None
) -> Iterator[list[ViewedTask]]:
    """Yield the tasks in groups whose heads are no more than a limit; a task with more is a group of its own.

    The encoder runs once per group.

    Args:
        tasks: The tasks.
        size: Voxels (D, H, W) of the preprocessed image.
        heads_at_once: The limit; None: as many as take a quarter of the memory that is free.
    """
    limit = _heads_that_fit(size) if heads_at_once is None else heads_at_once
    chunk: list[ViewedTask] = []
    for task in tasks:
        if chunk and sum(other.task.heads for other in chunk) + task.task.heads > limit:
            yield chunk
            chunk = []
        chunk.append(task)
    if chunk:
        yield chunk


def _heads_that_fit(size: Sequence[int]) -> float:
    free = free_memory()
    return math.inf if free is None else SHARE * free / (BYTES * math.prod(size))
