"""Batches of one number of channels, and their frames."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nnunet_ext.collection.training.schedule import TaskSchedule
from nnunet_ext.methods.versemi.loader import ChannelSchedule, FramedLoader, FrameSource
from nnunet_ext.seeding.seeds import BatchSeeds, Purpose


def test_with_one_number_of_channels_the_schedule_is_that_of_mixed_batches():
    ours, theirs = ChannelSchedule([1, 2, 1], [4, 4, 4], 5, 3, seed=7), TaskSchedule([1, 2, 1], 15, seed=7)
    assert [ours(sample) for sample in range(45)] == [theirs(sample) for sample in range(45)]


def test_the_samples_of_a_step_have_one_number_of_channels_and_tasks_their_shares():
    channels = [1, 3, 1]
    schedule = ChannelSchedule([1, 2, 1], channels, 40, 4, seed=7)
    steps = [[schedule(4 * step + place) for place in range(4)] for step in range(80)]
    assert all(len({channels[task] for task in step}) == 1 for step in steps)
    drawn = [task for step in steps for task in step]
    assert drawn.count(1) == 160
    assert drawn.count(0) == pytest.approx(80, abs=12)


class Loader:
    """A stock loader's attributes; its data are its value."""

    def __init__(self, value: int) -> None:
        self.value, self.batch_size, self.oversample_foreground_percent = value, 2, 0.33

    def __next__(self) -> dict[str, Any]:
        data = torch.full((1, 1), float(self.value))
        return {"data": data + torch.rand(1) / 10, "target": data, "keys": ["case"]}


def framed(sources: list[tuple[int, int, float]], channels=(1, 1, 2), **options: Any) -> FramedLoader:
    given = {"within": False, "first_framed": 0, "batch_size": 2, "before": 0, "together": 2, "heads": (2, 2, 2)}
    tasks = options.pop("tasks", [0, 1] * 50)
    frames = [FrameSource(task, Loader(value), share) for task, value, share in sources]
    loaders = [Loader(task) for task in range(3)]
    return FramedLoader(
        loaders,
        tasks.__getitem__,
        1,
        options.pop("first_step", 0),
        sources=frames,
        channels=channels,
        **given | options,
    )


def drawn(loader: FramedLoader, batches: int = 40) -> list[int]:
    return [int(value) for _ in range(batches) for value in next(loader)["unlabelled"].flatten()]


def test_frames_are_of_any_source_with_as_many_channels_by_share():
    found = drawn(framed([(0, 10, 3), (1, 20, 1), (2, 30, 9)]))
    assert set(found) == {10, 20}
    assert found.count(10) == pytest.approx(60, abs=12)


def test_within_a_member_each_sample_has_frames_of_its_own():
    loader = framed([(1, 20, 1), (2, 30, 1)], within=True)
    batch = next(loader)
    assert batch["framed"] == [1]  # task 0 has none
    assert set(drawn(loader)) == {20}


def test_before_the_end_of_the_warm_up_and_without_sources_there_are_no_frames():
    loader = framed([(0, 10, 1)], first_framed=1.5)
    assert ["unlabelled" in next(loader) for _ in range(3)] == [False, False, True]
    batch = next(framed([]))
    assert "unlabelled" not in batch
    assert batch["step"] == 0


def test_frames_do_not_change_the_labelled_samples_and_depend_on_their_step_alone():
    def loader(first_step: int = 0, sources: tuple = ((0, 10, 1),)) -> FramedLoader:
        seeds = BatchSeeds(3, rank=0, purpose=Purpose.TRAINING, steps=4)
        return framed(list(sources), seeds=seeds, first_step=first_step)

    whole, without = loader(), loader(sources=())
    batches = [next(whole) for _ in range(5)]
    assert all(torch.equal(batch["data"], next(without)["data"]) for batch in batches)
    assert torch.equal(next(loader(4))["unlabelled"], batches[4]["unlabelled"])
