"""Which of the processes of a training this process is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from torch import distributed

Item = TypeVar("Item")
LONG = timedelta(days=30)


@dataclass(frozen=True)
class Ranks:
    """The place of this process among all processes of a training, on all nodes.

    nnU-Net's ``local_rank`` chooses the device; on several nodes each node has a local rank 0. Which process writes,
    predicts which cases and draws which random numbers depends on the process group's rank.

    Args:
        rank: From 0; 0 without a process group.
        world_size: Number of processes; 1 without a process group.
    """

    rank: int
    world_size: int

    @classmethod
    def now(cls) -> Ranks:
        """Ask the process group, if there is one by now."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size())
        return cls(0, 1)

    @property
    def is_first(self) -> bool:
        """Whether this is the one process that writes shared files."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's part of some items: one of ``world_size``, beginning with its own."""
        return items[self.rank :: self.world_size]

    def gather(self, value: Any) -> list[Any]:
        """Return every process's value, in the order of ranks; all processes must call it."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world_size > 1:
            distributed.barrier()

    def patient_wait(self) -> Callable[[], None]:
        """Return a :meth:`wait` that lasts as long as it takes; the process group's own ends at its timeout.

        To be called when all processes are about here. What is returned is called once, when this one is done.
        """
        if self.world_size == 1:
            return self.wait
        group: Any = distributed.new_group(backend="gloo", timeout=LONG)

        def wait() -> None:
            distributed.barrier(group)

        return wait
