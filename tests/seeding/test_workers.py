"""Worker pools: their size, their order, their end."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

import pytest
import torch
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter

from nnunet_ext.seeding.workers import VARIABLE, no_workers, ordered_pool


class Counter:
    """Every ``workers``-th number."""

    def __init__(self, workers: int) -> None:
        self.workers, self.number = workers, 0

    def set_thread_id(self, worker: int) -> None:
        self.number = worker

    def __iter__(self) -> Counter:
        return self

    def __next__(self) -> dict[str, Any]:
        number = self.number
        self.number += self.workers
        return {"number": number, "data": torch.full((3,), float(number))}


def set_workers(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr("nnunet_ext.seeding.workers.get_allowed_n_proc_DA", lambda: number)


@pytest.mark.parametrize(("allowed", "share", "workers"), [(3, 1, 3), (3, 2, 2), (1, 2, 1)])
def test_order_and_size(monkeypatch, allowed, share, workers):
    set_workers(monkeypatch, allowed)
    pool = ordered_pool(Counter, share=share)
    try:
        assert len(multiprocessing.active_children()) == workers
        assert [next(pool)["number"] for _ in range(10)] == list(range(10))
    finally:
        pool._finish()
    assert not multiprocessing.active_children()


def test_no_workers(monkeypatch):
    set_workers(monkeypatch, 0)
    pool = ordered_pool(Counter)
    assert isinstance(pool, SingleThreadedAugmenter)
    assert [next(pool)["number"] for _ in range(3)] == [0, 1, 2]


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_ends_in_silence_while_batches_arrive(monkeypatch):
    set_workers(monkeypatch, 3)
    for _ in range(4):
        pool = ordered_pool(Counter)
        for _ in range(5):
            next(pool)
        pool._finish()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("before", ["3", None])
def test_the_variable_is_put_back(before, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    if before:
        monkeypatch.setenv(VARIABLE, before)
    seen = []

    def fails() -> None:
        with no_workers():
            seen.append(os.environ[VARIABLE])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert seen == ["0"]
    assert os.environ.get(VARIABLE) == before
