"""Batches in the schedule's order, whatever the number of workers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter

from nnunet_ext.collection.training.loaders import TaskLoader
from nnunet_ext.collection.training.schedule import RoundRobin, TaskSchedule


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


class Draws(Loader):
    """Draws from torch's generator, as nnU-Net's augmentation does."""

    def __next__(self) -> dict[str, Any]:
        return {"data": torch.rand(4)}


def test_workers_draw_different_random_numbers_and_repeat_with_the_seed():
    drawn = []
    for _ in range(2):
        loader = TaskLoader([Draws("a")], RoundRobin([0]), workers=2, first_step=0)
        pool = MultiThreadedAugmenter(loader, None, 2, seeds=[11, 22], wait_time=0.002)
        try:
            drawn.append(torch.stack([next(pool)["data"] for _ in range(4)]))
        finally:
            pool._finish()
    assert len(drawn[0].unique()) == 16
    assert torch.equal(*drawn)


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
