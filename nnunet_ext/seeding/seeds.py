"""Where all random numbers of a seeded training come from."""

from __future__ import annotations

import contextlib
import enum
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch


class Purpose(enum.IntEnum):
    """What random numbers are drawn for. Each purpose has numbers of its own."""

    WEIGHTS = 0
    TRAINING = 1
    VALIDATION = 2
    UNLABELLED = 3
    STEPS = 4  # dropout and noise in the steps of an epoch
    BOXES = 5
    TASKS = 6
    RATERS = 7
    RANDOMISATION = 8


def seed_sequence(seed: int, rank: int, purpose: Purpose, epoch: int = 0, index: int = 0) -> np.random.SeedSequence:
    """Return the source of random numbers for one purpose.

    No two sets of arguments have related numbers. With sums like ``seed + rank``, seed 0 on rank 1 would be seed 1 on
    rank 0.

    Args:
        seed: Of the training (knob ``seed``).
        rank: Of the process; 0 for what all ranks share.
        purpose: What the numbers are for.
        epoch: Epoch in which they are drawn.
        index: Batch or step within the epoch. It replaces a worker's number, so that a batch does not depend on the
            worker that makes it.
    """
    return np.random.SeedSequence((seed, rank, int(purpose), epoch, index))


def seed_process(sequence: np.random.SeedSequence) -> None:
    """Seed the generators that nnU-Net draws from: Python's, numpy's and torch's, on all devices."""
    torch.manual_seed(_seed_cpu(sequence))


@contextlib.contextmanager
def seeded_process(sequence: np.random.SeedSequence | None) -> Iterator[None]:
    """``with seeded_process(sequence):`` random numbers on the CPU depend on nothing but ``sequence``.

    Afterwards the generators continue where they were. None changes nothing.
    """
    if sequence is None:
        yield
        return
    before = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    torch.default_generator.manual_seed(_seed_cpu(sequence))
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.default_generator.set_state(before[2])


def _seed_cpu(sequence: np.random.SeedSequence) -> int:
    """Seed Python and numpy; return a seed for torch."""
    words = sequence.generate_state(8)
    random.seed(int.from_bytes(words[4:6].tobytes(), "little"))
    np.random.seed(words[:4])
    return int.from_bytes(words[6:].tobytes(), "little") >> 1  # torch takes 63 bits


@dataclass(frozen=True)
class BatchSeeds:
    """Seeds of the batches of a loader.

    Args:
        seed: Of the training.
        rank: Of the process.
        purpose: Of the batches.
        steps: Steps in an epoch.
    """

    seed: int
    rank: int
    purpose: Purpose
    steps: int

    def at(self, step: int, purpose: Purpose | None = None) -> np.random.SeedSequence:
        """Return the source of a batch's random numbers.

        Args:
            step: Counted from the beginning of the training.
            purpose: If other than the loader's.
        """
        epoch, index = divmod(step, self.steps)
        return seed_sequence(self.seed, self.rank, self.purpose if purpose is None else purpose, epoch, index)
