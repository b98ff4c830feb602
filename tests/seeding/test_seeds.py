"""Random numbers of a seeded training: which draws are related, and which are not."""

from __future__ import annotations

import contextlib
import itertools
import random

import numpy as np
import pytest
import torch

from nnunet_ext.seeding.seeds import BatchSeeds, Purpose, seed_process, seed_sequence, seeded_process


def numbers() -> tuple[float, ...]:
    return random.random(), np.random.rand(), float(torch.rand(1))


def test_no_two_places_share_random_numbers():
    """Seed 0 of rank 1 is not seed 1 of rank 0, and so on for every pair of arguments."""
    places = list(itertools.product((0, 1, 2), (0, 1), Purpose, (0, 1), (0, 1)))
    found = []
    for place in places:
        with seeded_process(seed_sequence(*place)):
            found.append(numbers())
    for of_one_generator in zip(*found, strict=True):
        assert len(set(of_one_generator)) == len(places) == 3 * 2 * len(Purpose) * 2 * 2


def test_the_sequence_is_that_of_seed_rank_purpose_epoch_and_index():
    assert seed_sequence(7, 1, Purpose.VALIDATION, 3, 4).entropy == (7, 1, 2, 3, 4)


def test_seeding_the_process_repeats():
    drawn = []
    for _ in range(2):
        seed_process(seed_sequence(5, 1, Purpose.STEPS, 2))
        drawn.append(numbers())
    assert drawn[0] == drawn[1]


def test_large_seeds():
    for seed in (2**31, 2**40 + 1):
        seed_process(seed_sequence(seed, 0, Purpose.WEIGHTS))


@pytest.mark.parametrize("fails", [False, True])
def test_afterwards_the_generators_go_on_where_they_were(fails):
    seed_process(seed_sequence(5, 0, Purpose.STEPS))
    expected = numbers()
    seed_process(seed_sequence(5, 0, Purpose.STEPS))
    expects = pytest.raises(ZeroDivisionError) if fails else contextlib.nullcontext()
    with expects, seeded_process(seed_sequence(6, 0, Purpose.TRAINING)):
        assert numbers() != expected
        1 / (not fails)
    assert numbers() == expected


def test_without_a_sequence_nothing_changes():
    seed_process(seed_sequence(5, 0, Purpose.STEPS))
    expected = numbers()
    seed_process(seed_sequence(5, 0, Purpose.STEPS))
    with seeded_process(None):
        assert numbers() == expected


def test_batches_are_counted_within_their_epoch():
    seeds = BatchSeeds(7, rank=1, purpose=Purpose.TRAINING, steps=4)
    assert seeds.at(3).entropy == (7, 1, 1, 0, 3)
    assert seeds.at(9).entropy == (7, 1, 1, 2, 1)
    assert seeds.at(9, Purpose.UNLABELLED).entropy == (7, 1, 3, 2, 1)
