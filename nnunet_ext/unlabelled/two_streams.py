"""Batches of labelled and of unlabelled samples, in a given order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

LABELLED, UNLABELLED = 0, 1
IMAGES_ONLY = (("unlabelled", "data"),)


class TwoStreams:
    """Iterator over batches of a labelled and an unlabelled loader.

    A batch is that of the labelled loader, with its ``step``, counted from the beginning of the training, and
    ``unlabelled`` (Bu, C, D, H, W), images only: unless ``entries`` says so, nothing else leaves the unlabelled loader,
    so nothing can train on them as background.

    Give it to batchgenerators' ``MultiThreadedAugmenter``, which asks its workers in turn: each worker has a copy and
    makes every n-th batch. With a seed a batch depends on nothing but its step, whatever the number of workers and
    wherever the training was continued, and drawing it leaves this process's random generators as they were.

    Args:
        labelled: Stock loader.
        unlabelled: Stock loader of unlabelled cases; None for validation, whose batches have no ``unlabelled``.
        workers: Number of workers, 1 for none.
        first_step: Step of the first batch.
        seed: Seeds every batch, in numpy and torch.
        entries: What a batch takes of the unlabelled loader's: name in the batch and there.
    """

    def __init__(
        self,
        labelled: Iterator[dict[str, Any]],
        unlabelled: Iterator[dict[str, Any]] | None,
        *,
        workers: int = 1,
        first_step: int = 0,
        seed: tuple[int, ...] | None = None,
        entries: tuple[tuple[str, str], ...] = IMAGES_ONLY,
    ) -> None:
        self.labelled = labelled
        self.unlabelled = unlabelled
        self._workers = workers
        self._first_step = first_step
        self._seed = seed
        self._entries = entries
        self._step = first_step

    def set_thread_id(self, worker: int) -> None:
        """Tell a copy which worker it is in.

        A worker computes with one thread, as nnU-Net's own do. Unseeded workers draw random numbers of their own: the
        pool seeds numpy's generator only, and they would share torch's, which decides on most augmentations.
        """
        torch.set_num_threads(1)
        torch.manual_seed(np.random.randint(2**31))
        self._step = self._first_step + worker

    def __iter__(self) -> TwoStreams:
        return self

    def __next__(self) -> dict[str, Any]:
        """Return the next batch."""
        step = self._step
        self._step += self._workers
        with self._seeded(step, LABELLED):
            batch = next(self.labelled) | {"step": step}
        if self.unlabelled is not None:
            with self._seeded(step, UNLABELLED):
                drawn = next(self.unlabelled)
                batch |= {name: drawn[entry] for name, entry in self._entries}
        return batch

    @contextlib.contextmanager
    def _seeded(self, step: int, stream: int) -> Iterator[None]:
        """Seed what stock loaders draw from: numpy and torch on the CPU."""
        if self._seed is None:
            yield
            return
        of_numpy, of_torch = np.random.get_state(), torch.default_generator.get_state()
        words = np.random.SeedSequence((*self._seed, stream, step)).generate_state(5)
        np.random.seed(words[:4])
        torch.default_generator.manual_seed(int(words[4]))
        try:
            yield
        finally:
            np.random.set_state(of_numpy)
            torch.default_generator.set_state(of_torch)
