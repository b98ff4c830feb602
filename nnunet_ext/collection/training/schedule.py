"""Which task is trained in which step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.seeding.seeds import Purpose, seed_sequence


class TaskSchedule:
    """A task for every training step, the same in every process that is given the same seed.

    In an epoch of n steps a task of share w is trained floor(n w) or ceil(n w) times, on average over epochs exactly
    n w times (systematic sampling), in random order. Only numpy's own generators are used.

    Args:
        shares: Share of each task; they are normalized.
        steps: Steps in an epoch.
        seed: Seed of all epochs.
    """

    def __init__(self, shares: Sequence[float], steps: int, seed: int) -> None:
        self._borders = np.cumsum(np.asarray(shares, float) / np.sum(shares))
        self._steps = steps
        self._seed = seed
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, np.int64)

    def __call__(self, step: int) -> int:
        """Return the task of a step, counted from the beginning of the training."""
        epoch, position = divmod(step, self._steps)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._draw(epoch)
        return int(self._order[position])

    def _draw(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng(seed_sequence(self._seed, 0, Purpose.TASKS, epoch))
        points = (np.arange(self._steps) + rng.random()) / self._steps
        tasks = np.searchsorted(self._borders, points, side="right")
        return rng.permutation(np.minimum(tasks, len(self._borders) - 1))


class RoundRobin:
    """One task after the other: any ``len(tasks)`` steps in a row see them all.

    Args:
        tasks: The tasks, at least one.
    """

    def __init__(self, tasks: Sequence[int]) -> None:
        self._tasks = tuple(tasks)

    def __call__(self, step: int) -> int:
        """Return the task of a step."""
        return self._tasks[step % len(self._tasks)]


def shared_seed(seed: int | None) -> int:
    """Return a seed that all ranks have: the given one, or one that rank 0 draws for all."""
    if seed is not None:
        return seed
    return Ranks.now().gather(int(np.random.SeedSequence().generate_state(1)[0]))[0]
