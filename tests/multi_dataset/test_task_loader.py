"""Batches in the schedule's order, whatever the number of workers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter

from nnunet_ext.multi_dataset.round_robin import RoundRobin
from nnunet_ext.multi_dataset.task_loader import TaskLoader
from nnunet_ext.multi_dataset.task_schedule import TaskSchedule


class Loader:
    """Names its task."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        return {"data": self.name}


def loaders() -> list[Loader]:
    return [Loader(name) for name in "abc"]


def test_the_schedule_decides():
    loader = TaskLoader(loaders(), RoundRobin([2, 0]), workers=1, first_step=3)
    assert list(itertools.islice(loader, 3)) == [
        {"data": "a", "task": 0},
        {"data": "c", "task": 2},
        {"data": "a", "task": 0},
    ]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_one_pool_of_real_processes_keeps_the_order(workers):
    schedule = TaskSchedule([1, 2, 1], 8, seed=0)
    pool = MultiThreadedAugmenter(
        TaskLoader(loaders(), schedule, workers, first_step=4), None, workers, wait_time=0.002
    )
    try:
        batches = [next(pool) for _ in range(20)]
    finally:
        pool._finish()
    assert [batch["task"] for batch in batches] == [schedule(step) for step in range(4, 24)]
    assert all(batch["data"] == "abc"[batch["task"]] for batch in batches)
