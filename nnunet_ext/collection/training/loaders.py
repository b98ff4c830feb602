"""Batches of several members, one task each, in a given order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nnunet_ext.seeding.seeds import BatchSeeds
from nnunet_ext.seeding.stepped_loader import SteppedLoader


class TaskLoader(SteppedLoader):
    """Iterator over the batches of several loaders; a schedule says which loader makes the batch of which step.

    Give it to batchgenerators' ``MultiThreadedAugmenter``, which asks its workers in turn: each worker has a copy and
    makes every n-th batch, so the batches arrive in the schedule's order, and all members share one pool.

    Args:
        loaders: One loader for each task.
        schedule: Step -> task; the same in all workers.
        workers: Number of workers, 1 for none.
        first_step: Step of the first batch.
        seeds: Seeds of the batches.
    """

    def __init__(
        self,
        loaders: Sequence[Iterator[dict[str, Any]]],
        schedule: Callable[[int], int],
        workers: int,
        first_step: int,
        seeds: BatchSeeds | None = None,
    ) -> None:
        super().__init__(workers=workers, first_step=first_step, seeds=seeds)
        self.loaders = list(loaders)
        self._schedule = schedule

    def __next__(self) -> dict[str, Any]:
        """Return the next batch, with its task's number under ``"task"``."""
        step = self._next_step()
        task = self._schedule(step)
        with self._seeded(step):
            return next(self.loaders[task]) | {"task": task}
