"""Batches of several members, one task each, in a given order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch


class TaskLoader:
    """Iterator over the batches of several loaders; a schedule says which loader makes the batch of which step.

    Give it to batchgenerators' ``MultiThreadedAugmenter``, which asks its workers in turn: each worker has a copy and
    makes every n-th batch, so the batches arrive in the schedule's order, and all members share one pool.

    Args:
        loaders: One loader for each task.
        schedule: Step -> task; the same in all workers.
        workers: Number of workers, 1 for none.
        first_step: Step of the first batch.
    """

    def __init__(
        self, loaders: Sequence[Iterator[dict[str, Any]]], schedule: Callable[[int], int], workers: int, first_step: int
    ) -> None:
        self.loaders = list(loaders)
        self._schedule = schedule
        self._workers = workers
        self._first_step = first_step
        self._step = first_step

    def set_thread_id(self, worker: int) -> None:
        """Tell a copy which worker it is in.

        A worker computes with one thread, as nnU-Net's own do, and draws random numbers of its own: the pool seeds
        numpy's generator only, and workers would share torch's, which decides on most augmentations.
        """
        torch.set_num_threads(1)
        torch.manual_seed(np.random.randint(2**31))
        self._step = self._first_step + worker

    def __iter__(self) -> TaskLoader:
        return self

    def __next__(self) -> dict[str, Any]:
        """Return the next batch, with its task's number under ``"task"``."""
        task = self._schedule(self._next_step())
        return next(self.loaders[task]) | {"task": task}

    def _next_step(self) -> int:
        step = self._step
        self._step += self._workers
        return step
