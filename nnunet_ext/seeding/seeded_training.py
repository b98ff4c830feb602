"""Random numbers, loaders and workers of a training with the knob ``seed``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunet_ext.processes.follow_parent import children_follow
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.seeding.seeded_blur import steady_blur
from nnunet_ext.seeding.seeds import BatchSeeds, Purpose, seed_process, seed_sequence
from nnunet_ext.seeding.stepped_loader import SingleLoader
from nnunet_ext.seeding.workers import no_workers, ordered_pool


class SeededTraining:
    """Mix-in for trainers, left of ``nnUNetTrainer``; without the knob ``seed`` everything is stock.

    With it each batch depends on nothing but seed, rank and step, and each epoch's dropout and noise on seed, rank and
    epoch (:mod:`nnunet_ext.seeding.seeds`).
    """

    knobs: dict[str, Any]
    current_epoch: int
    num_iterations_per_epoch: int
    num_val_iterations_per_epoch: int
    device: torch.device
    batch_size: int

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Stock loaders, whose workers end with this process; with ``seed``, an ordered pool with seeded batches."""
        if self.knobs["seed"] is None:
            with children_follow():
                return super().get_dataloaders()  # type: ignore[misc]
        train, val = self.bare_loaders()
        return (
            self.pool(partial(SingleLoader, train), Purpose.TRAINING, self.num_iterations_per_epoch),
            self.pool(partial(SingleLoader, val), Purpose.VALIDATION, self.num_val_iterations_per_epoch, share=2),
        )

    def bare_loaders(self) -> tuple[nnUNetDataLoader, nnUNetDataLoader]:
        """Return stock loaders, of training and validation, without workers; with a seed their blurring repeats."""
        size, self.batch_size = self.batch_size, 0  # stock code draws a batch of each here: an empty one takes no time
        try:
            with no_workers():
                loaders = tuple(made.data_loader for made in super().get_dataloaders())  # type: ignore[misc]
        finally:
            self.batch_size = size
        for loader in loaders:
            loader.batch_size = size
        if self.knobs["seed"] is not None:
            for loader in loaders:
                steady_blur(loader.transforms)
        return loaders

    def pool(
        self, make: Callable[..., Iterator[dict[str, Any]]], purpose: Purpose, steps: int, *, share: int = 1
    ) -> Any:
        """Start nnU-Net's number of workers; their batches arrive in order, from the current epoch's first step on.

        Args:
            make: Makes a :class:`nnunet_ext.seeding.stepped_loader.SteppedLoader`.
            purpose: Of the batches.
            steps: Steps in an epoch.
            share: A ``share``-th of the workers.
        """
        options = {"first_step": self.current_epoch * steps, "seeds": self.batch_seeds(purpose, steps)}
        return ordered_pool(partial(make, **options), share=share, pin_memory=self.device.type == "cuda")

    def batch_seeds(self, purpose: Purpose, steps: int) -> BatchSeeds | None:
        """Return the seeds of this rank's batches for a purpose; None without the knob ``seed``."""
        seed = self.knobs["seed"]
        return None if seed is None else BatchSeeds(seed, Ranks.now().rank, purpose, steps)

    def on_train_epoch_start(self) -> None:
        """Start the epoch as stock does; with a seed its random numbers do not depend on what came before."""
        super().on_train_epoch_start()  # type: ignore[misc]
        self.seed(Purpose.STEPS, self.current_epoch)

    def seed(self, purpose: Purpose, epoch: int = 0) -> None:
        """Seed this process for a purpose; without the knob nothing happens."""
        if self.knobs["seed"] is not None:
            seed_process(seed_sequence(self.knobs["seed"], Ranks.now().rank, purpose, epoch))
