"""Batches of labelled samples of several tasks, and of unlabelled frames that fit them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunet_ext.collection.training.loaders import MixedLoader
from nnunet_ext.collection.training.schedule import TaskSchedule
from nnunet_ext.seeding.seeds import Purpose


class ChannelSchedule:
    """A task for every sample, those of a step with one number of channels; the same in every process.

    With one number of channels it is the :class:`TaskSchedule` of mixed batches.

    Args:
        shares: Share of each task.
        channels: Channels of each task's images.
        steps: Steps in an epoch.
        together: Samples of a step in all processes.
        seed: Seed of all epochs.
    """

    def __init__(self, shares: Sequence[float], channels: Sequence[int], steps: int, together: int, seed: int) -> None:
        self._together = together
        masks = [np.equal(channels, number) for number in sorted(set(channels))]
        self._of_samples = [TaskSchedule(np.multiply(shares, mask).tolist(), steps * together, seed) for mask in masks]
        own = int(np.random.SeedSequence((seed, len(masks))).generate_state(1)[0])
        self._of_step = TaskSchedule([float(np.dot(shares, mask)) for mask in masks], steps, own)

    def __call__(self, sample: int) -> int:
        """Return the task of a sample, counted from the beginning of the training."""
        return self._of_samples[self._of_step(sample // self._together)](sample)


@dataclass(frozen=True)
class FrameSource:
    """Images without labels for some task.

    Args:
        task: The task of the member whose images they are.
        loader: A stock loader of batches of one.
        share: How often it is drawn, relative to the others.
    """

    task: int
    loader: Any
    share: float


class FramedLoader(MixedLoader):
    """A :class:`MixedLoader` whose batches have ``step``, and from a step on ``unlabelled`` and ``framed``.

    ``unlabelled`` (F, C, D, H, W) are images for F of the labelled samples, whose numbers are ``framed`` (F): of any
    source with as many channels, or ``within`` one member. A batch without such a source has neither.

    Args:
        loaders: See :class:`MixedLoader`.
        sources: The unlabelled images.
        channels: Channels of each task's images.
        within: A frame is of the labelled sample's member.
        first_framed: The first step with frames.
        options: See :class:`MixedLoader`.
    """

    def __init__(
        self,
        loaders: Sequence[Any],
        *args: Any,
        sources: Sequence[FrameSource],
        channels: Sequence[int],
        within: bool,
        first_framed: float,
        **options: Any,
    ) -> None:
        super().__init__(loaders, *args, **options)
        self._sources, self._channels = tuple(sources), tuple(channels)
        self._within, self._first_framed = within, first_framed

    def __next__(self) -> dict[str, Any]:
        """Return the next batch."""
        step = self._step
        batch = super().__next__() | {"step": step}
        if step < self._first_framed:
            return batch
        with self._seeded(step, Purpose.UNLABELLED):
            frames = [self._frame(int(task)) for task in batch["task"]]
        framed = [number for number, frame in enumerate(frames) if frame is not None]
        if not framed:
            return batch
        return batch | {"unlabelled": torch.cat([frame for frame in frames if frame is not None]), "framed": framed}

    def _frame(self, task: int) -> Tensor | None:
        """Draw an image for a labelled sample of a task."""
        fitting = [source for source in self._sources if self._fits(source.task, task)]
        if not fitting:
            return None
        shares = np.array([source.share for source in fitting])
        image: Tensor = next(fitting[np.random.choice(len(fitting), p=shares / shares.sum())].loader)["data"]
        return image

    def _fits(self, source: int, task: int) -> bool:
        return source == task if self._within else self._channels[source] == self._channels[task]
