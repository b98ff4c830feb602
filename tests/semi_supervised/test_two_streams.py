"""Batches of two loaders: what leaves them, in which order, and from which random numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from nnunet_ext.seeding.seeds import BatchSeeds, Purpose
from nnunet_ext.seeding.workers import ordered_pool
from nnunet_ext.semi_supervised.two_streams import TwoStreams


class Loader:
    """Draws from both generators, as nnU-Net's augmentation does."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        numbers = torch.cat((torch.rand(self.size), torch.from_numpy(np.random.rand(self.size))))
        return {"data": numbers, "target": torch.zeros(self.size), "keys": ["a"] * self.size}


def seeds(seed: int = 1) -> BatchSeeds:
    return BatchSeeds(seed, rank=2, purpose=Purpose.TRAINING, steps=4)


def streams(**options: Any) -> TwoStreams:
    return TwoStreams(Loader(2), Loader(3), **options)


def drawn(batches: Iterator[dict[str, Any]], number: int) -> torch.Tensor:
    return torch.stack([torch.cat((b["data"], b["unlabelled"])) for b in itertools.islice(batches, number)])


def test_nothing_but_images_leaves_the_unlabelled_loader():
    batch = next(streams(first_step=7))
    assert {name: len(value) for name, value in batch.items() if name != "step"} == {
        "data": 4,
        "target": 2,
        "keys": 2,
        "unlabelled": 6,
    }
    assert batch["step"] == 7


def test_without_an_unlabelled_loader():
    assert sorted(next(TwoStreams(Loader(2), None))) == ["data", "keys", "step", "target"]


def test_a_seeded_batch_depends_on_its_step_alone():
    whole = drawn(streams(seeds=seeds()), 6)
    assert len(whole.unique()) == whole.numel()
    np.random.seed(5)
    torch.manual_seed(5)
    assert torch.equal(drawn(streams(seeds=seeds(), first_step=4), 2), whole[4:])
    assert torch.equal(drawn(streams(seeds=seeds(), workers=3, first_step=1), 2), whole[1::3])
    assert not torch.isin(drawn(streams(seeds=seeds(2)), 6), whole).any()


def test_labelled_batches_do_not_depend_on_the_unlabelled_loader():
    alone = TwoStreams(Loader(2), None, seeds=seeds())
    assert [float(next(alone)["data"].sum()) for _ in range(3)] == [
        float(batch["data"].sum()) for batch in itertools.islice(streams(seeds=seeds()), 3)
    ]


def test_a_seeded_batch_leaves_this_processs_generators_alone():
    np.random.seed(5)
    torch.manual_seed(5)
    expected = np.random.rand(), torch.rand(1)
    np.random.seed(5)
    torch.manual_seed(5)
    drawn(streams(seeds=seeds()), 2)
    assert (np.random.rand(), torch.rand(1)) == expected


def test_unseeded_batches_go_on_with_this_processs_generators():
    np.random.seed(5)
    torch.manual_seed(5)
    first = drawn(streams(), 2)
    assert len(first.unique()) == first.numel()
    np.random.seed(5)
    torch.manual_seed(5)
    assert torch.equal(drawn(streams(), 2), first)


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("seeds", [seeds(), None])
def test_workers(workers, seeds, monkeypatch):
    monkeypatch.setattr("nnunet_ext.seeding.workers.get_allowed_n_proc_DA", lambda: workers)
    pool = ordered_pool(partial(streams, first_step=2, seeds=seeds))
    try:
        batches = list(itertools.islice(pool, 7))
    finally:
        if workers:
            pool._finish()
    assert [batch["step"] for batch in batches] == list(range(2, 9))
    found = drawn(iter(batches), 7)
    assert len(found.unique()) == found.numel()
    if seeds is not None:
        assert torch.equal(found, drawn(streams(first_step=2, seeds=seeds), 7))
