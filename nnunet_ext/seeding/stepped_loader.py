"""Loaders that know which step their next batch is for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from nnunet_ext.seeding.seeds import BatchSeeds, Purpose, seeded_process


class SteppedLoader:
    """Iterator over batches, each made for a step that is counted from the beginning of the training.

    Give it to :func:`nnunet_ext.seeding.workers.ordered_pool`: each worker has a copy and makes every n-th batch.
    With seeds a batch depends on nothing but its step, whatever the number of workers and wherever the training was
    continued, and drawing it leaves this process's random generators as they were.

    Args:
        workers: Number of workers, 1 for none.
        first_step: Step of the first batch.
        seeds: Seeds of the batches.
    """

    def __init__(self, *, workers: int = 1, first_step: int = 0, seeds: BatchSeeds | None = None) -> None:
        self._workers = workers
        self._first_step = first_step
        self._seeds = seeds
        self._step = first_step

    def set_thread_id(self, worker: int) -> None:
        """Tell a copy which worker it is in.

        A worker computes with one thread, as nnU-Net's own do. Unseeded workers draw random numbers of their own: the
        pool seeds numpy's generator only, and they would share torch's, which decides on most augmentations.
        """
        torch.set_num_threads(1)
        torch.manual_seed(np.random.randint(2**31))
        self._step = self._first_step + worker

    def __iter__(self) -> SteppedLoader:
        return self

    def __next__(self) -> dict[str, Any]:
        """Return the next batch."""
        raise NotImplementedError

    def _next_step(self) -> int:
        step = self._step
        self._step += self._workers
        return step

    def _seeded(self, step: int, purpose: Purpose | None = None) -> contextlib.AbstractContextManager[None]:
        """``with self._seeded(step):`` random numbers are those of a step's batch."""
        return seeded_process(None if self._seeds is None else self._seeds.at(step, purpose))


class SingleLoader(SteppedLoader):
    """The batches of one stock loader.

    Args:
        loader: The loader.
        options: See :class:`SteppedLoader`.
    """

    def __init__(self, loader: Iterator[dict[str, Any]], **options: Any) -> None:
        super().__init__(**options)
        self.loader = loader

    def __next__(self) -> dict[str, Any]:
        """Return the next batch."""
        with self._seeded(self._next_step()):
            return next(self.loader)
