"""Batches for steps: seeded ones depend on nothing but their step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from nnunet_ext.seeding.seeds import BatchSeeds, Purpose
from nnunet_ext.seeding.stepped_loader import SingleLoader
from nnunet_ext.seeding.workers import ordered_pool

SEEDS = BatchSeeds(3, rank=0, purpose=Purpose.TRAINING, steps=4)


class Loader:
    """Draws from both generators, as nnU-Net's augmentation does."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        return {"data": torch.cat((torch.rand(2), torch.from_numpy(np.random.rand(2))))}


def drawn(number: int, workers: int, monkeypatch: pytest.MonkeyPatch, **options: Any) -> torch.Tensor:
    monkeypatch.setattr("nnunet_ext.seeding.workers.get_allowed_n_proc_DA", lambda: workers)
    pool = ordered_pool(partial(SingleLoader, Loader(), **options))
    try:
        return torch.stack([batch["data"] for batch in itertools.islice(pool, number)])
    finally:
        if workers:
            pool._finish()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_seeded_batches_are_the_same_for_any_number_of_workers_and_from_any_step(monkeypatch, workers):
    whole = drawn(10, 0, monkeypatch, seeds=SEEDS)
    assert len(whole.unique()) == whole.numel()
    assert torch.equal(drawn(6, workers, monkeypatch, seeds=SEEDS, first_step=4), whole[4:])


def test_unseeded_workers_draw_numbers_of_their_own(monkeypatch):
    first, second = (drawn(6, 2, monkeypatch) for _ in range(2))
    assert len(torch.cat((first, second)).unique()) == 2 * first.numel()
