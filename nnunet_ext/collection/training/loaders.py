"""Batches of several members: one task each, or one for each sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from nnunet_ext.processes.ranks import Ranks
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


class MixedLoader(TaskLoader):
    """A :class:`TaskLoader` that draws each sample of a batch from the loader of its own task.

    Samples of the same task are adjacent, tasks ascending. A batch holds ``data`` (B, C, D, H, W); ``task`` (B), each
    sample's task; ``valid`` (B, H), which of the network's shared heads a sample has labels for; and ``target``, a
    list: the targets over scales of the first task's samples, then those of the second, and so on.

    As many samples as in stock loaders are forced to hold foreground, regardless of their tasks.

    Args:
        loaders: One stock loader for each task; this class sets their batch size and share of forced foreground.
        schedule: Sample, counted from the beginning of the training -> task; the same in all workers.
        workers: Number of workers, 1 for none.
        first_step: Step of the first batch.
        seeds: Seeds of the batches.
        batch_size: Samples in a batch of this process.
        before: Samples of a step that processes of lower rank draw.
        together: Samples of a step in all processes.
        heads: Heads of each task.
    """

    def __init__(
        self,
        loaders: Sequence[Any],
        schedule: Callable[[int], int],
        workers: int,
        first_step: int,
        seeds: BatchSeeds | None = None,
        *,
        batch_size: int,
        before: int,
        together: int,
        heads: Sequence[int],
    ) -> None:
        super().__init__(loaders, schedule, workers, first_step, seeds)
        self._batch_size, self._before, self._together = batch_size, before, together
        self._valid = np.arange(max(heads)) < np.array(heads)[:, None]
        self._not_forced = round(batch_size * (1 - loaders[0].oversample_foreground_percent))
        for loader in loaders:
            loader.batch_size = 1

    def __next__(self) -> dict[str, Any]:
        """Return the next batch."""
        step = self._next_step()
        first = step * self._together + self._before
        drawn = [(self._schedule(first + place), place) for place in range(self._batch_size)]
        with self._seeded(step):
            samples = [self._sample(task, force=place >= self._not_forced) for task, place in sorted(drawn)]
        tasks = np.array([task for task, _ in sorted(drawn)])
        targets = []
        for task in np.unique(tasks):
            of_task = [samples[place]["target"] for place in np.flatnonzero(tasks == task)]
            scales = zip(*of_task, strict=True) if isinstance(of_task[0], list) else [of_task]
            targets += [torch.cat(tuple(scale)) for scale in scales]
        return {
            "data": torch.cat([sample["data"] for sample in samples]),
            "target": targets,
            "keys": [key for sample in samples for key in sample["keys"]],
            "task": tasks,
            "valid": self._valid[tasks],
        }

    def _sample(self, task: int, *, force: bool) -> dict[str, Any]:
        self.loaders[task].oversample_foreground_percent = float(force)  # type: ignore[attr-defined]
        return next(self.loaders[task])


def samples_of_rank(batch_size: int) -> dict[str, Any]:
    """Return what a :class:`MixedLoader` must know of the samples of a step, when every process asks at the same time.

    Args:
        batch_size: Samples in a batch of this process.
    """
    ranks = Ranks.now()
    sizes = ranks.gather(batch_size)
    return {"batch_size": batch_size, "before": sum(sizes[: ranks.rank]), "together": sum(sizes)}
