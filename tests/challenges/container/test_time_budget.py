"""The time budget, with a network that is slow on purpose."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import torch
from small_model import phantom, write_small_model

from nnunet_ext.challenges.container.time_budget import BudgetedWindow
from nnunet_ext.prediction.sliding_window import SlidingWindow, count_windows
from nnunet_ext.prediction.trained_model import TrainedModel

CPU = torch.device("cpu")
SHAPE = (12, 16, 18)


class Slow:
    """Counts the passes of a network and makes each slow, by a clock that only the budget sees, or for real.

    Args:
        model: Whose network is slowed down.
        clock: Is moved on by a pass; None: a pass sleeps.
        seconds: Of a pass.
    """

    def __init__(self, model: TrainedModel, clock: Clock | None, seconds: float = 1.0) -> None:
        self.seconds, self.passes, self._clock = seconds, 0, clock
        model.network.register_forward_hook(self._wait)

    def _wait(self, *_: Any) -> None:
        self.passes += 1
        if self._clock is None:
            time.sleep(self.seconds)
        else:
            self._clock.now += self.seconds


class Clock:
    """A clock that stands still unless it is moved on."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the budget, in place of the real one."""
    made = Clock()
    monkeypatch.setattr(f"{BudgetedWindow.__module__}.perf_counter", made)
    return made


@pytest.fixture
def model(tmp_path: Path) -> TrainedModel:
    """Two folds, mirrored along two axes; an image of SHAPE has four windows for each: 32 passes."""
    assert count_windows(SHAPE, (8, 16, 12), 0.5) == 4
    return TrainedModel.load(write_small_model(tmp_path, folds=(0, 1), axes=(0, 1)))


@pytest.fixture
def image() -> torch.Tensor:
    return torch.from_numpy(phantom(SHAPE))


def logits_of(window: SlidingWindow, image: torch.Tensor) -> torch.Tensor:
    return torch.cat([slab.clone() for slab in window.slabs(image)], 1)


def run(window: BudgetedWindow, image: torch.Tensor, now: float, seconds: float) -> torch.Tensor:
    window.deadline = now + seconds
    return logits_of(window, image)


def test_enough_time_changes_nothing(
    model: TrainedModel, image: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    expected = logits_of(SlidingWindow(model, CPU), image)
    window = BudgetedWindow(model, CPU)
    assert torch.equal(logits_of(window, image), expected)  # no deadline
    with caplog.at_level(logging.INFO):
        assert torch.equal(run(window, image, perf_counter(), 1000.0), expected)
    assert "time budget" not in caplog.text


@pytest.mark.parametrize(
    ("left", "folds", "axes", "passes"),
    [(33.7, 2, 2, 32), (33.5, 2, 1, 16), (16.7, 2, 0, 8), (8.3, 1, 0, 4)],  # with 5 % to spare
)
def test_what_is_dropped(
    model: TrainedModel,
    image: torch.Tensor,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    left: float,
    folds: int,
    axes: int,
    passes: int,
) -> None:
    """Mirroring first, then folds; what remains is predicted as usual, in time."""
    slow = Slow(model, clock)
    window = BudgetedWindow(model, CPU)
    start = clock.now
    with caplog.at_level(logging.WARNING):
        found = run(window, image, start, left + 2)  # a pass for each of both trials
    assert slow.passes == 2 + passes
    assert clock.now <= start + left + 2
    said = f"Predicting with {folds} of 2 folds, mirrored along {axes} of 2 axes"
    assert (said in caplog.text) == (passes < 32)
    fewer = replace(model, parameters=model.parameters[:folds])
    fewer.use(fewer.parameters[0])
    plain = SlidingWindow(fewer, CPU)
    plain.mirroring_axes = (0, 1)[:axes]
    assert torch.equal(found, logits_of(plain, image))


def test_in_real_time(model: TrainedModel, image: torch.Tensor, caplog: pytest.LogCaptureFixture) -> None:
    """Within 10 % of the budget, with a network that sleeps, on a machine that may do other things besides."""
    Slow(model, None, 0.15)
    start, budget = perf_counter(), 3.3  # all would take 4.8
    with caplog.at_level(logging.WARNING):
        run(BudgetedWindow(model, CPU), image, start, budget)
    assert perf_counter() - start <= 1.1 * budget
    assert "time budget: all would take" in caplog.text


def test_nothing_is_dropped_for_good(model: TrainedModel, image: torch.Tensor) -> None:
    """An image that had to do with one fold leaves nothing behind, nor does one that was not finished."""
    expected = logits_of(SlidingWindow(model, CPU), image)
    window = BudgetedWindow(model, CPU)
    run(window, image, perf_counter(), 1e-9)
    assert torch.equal(run(window, image, perf_counter(), 1000.0), expected)
    hurried = run(window, image, perf_counter(), 1e-9)  # by the first fold, although the last one is in the network
    model.use(model.parameters[0])
    first = replace(model, parameters=model.parameters[:1])
    assert torch.equal(hurried, logits_of(SlidingWindow(first, CPU, mirroring=False), image))
    window.deadline = perf_counter()
    unfinished = window.slabs(image)
    next(unfinished)
    window.deadline = None
    assert torch.equal(logits_of(window, image), expected)
    del unfinished


def test_a_network_that_becomes_slower(
    model: TrainedModel, image: torch.Tensor, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """All fits at first; then each pass takes twice as long, and mirrorings are dropped on the way."""
    slow = Slow(model, clock)
    window = BudgetedWindow(model, CPU)
    window.deadline = clock.now + 38

    def slower(done: int, _: int) -> None:
        slow.seconds = 2.0

    with caplog.at_level(logging.WARNING):
        for _ in window.slabs(image, progress=slower):
            pass
    assert clock.now <= window.deadline
    assert "From here on mirrored along 1 axes" in caplog.text
    assert slow.passes < 2 + 32


def test_a_network_that_becomes_slower_late(tmp_path: Path, clock: Clock) -> None:
    """What the last windows took counts more: a mean of all 60 would be late by a tenth."""
    model = TrainedModel.load(write_small_model(tmp_path, axes=(0, 1)))
    slow, window = Slow(model, clock), BudgetedWindow(model, CPU)
    window.deadline = clock.now + 362

    def slower(done: int, windows: int) -> None:
        assert windows == 60
        slow.seconds = 1.0 if done < 30 else 6.0

    for _ in window.slabs(torch.from_numpy(phantom((8, 16, 366))), progress=slower):
        pass
    assert clock.now <= window.deadline + 0.03 * 362


def test_time_between_windows(
    model: TrainedModel, image: torch.Tensor, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """What the export of a slab takes counts for the windows that follow."""
    slow = Slow(model, clock)
    window = BudgetedWindow(model, CPU)
    window.deadline = clock.now + 40
    with caplog.at_level(logging.WARNING):
        for _ in window.slabs(image):
            clock.now += 15
    assert "From here on" in caplog.text
    assert slow.passes < 2 + 32


def test_too_little_time_for_anything(
    model: TrainedModel, image: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Slow(model, None, 0.0)
    with caplog.at_level(logging.WARNING):
        found = run(BudgetedWindow(model, CPU), image, perf_counter(), 1e-9)
    assert "1 of 2 folds, mirrored along 0 of 2 axes" in caplog.text
    assert caplog.text.strip().endswith("it will be late")
    assert slow.passes == 2 + 4
    assert found.shape[1:] == SHAPE


def test_2d(tmp_path: Path) -> None:
    """The trial's window is a slice."""
    model = TrainedModel.load(write_small_model(tmp_path, axes=(0, 1), patch_size=[16, 12], spacing=[1.0, 1.0]))
    image = torch.from_numpy(phantom((5, 16, 18)))
    expected = logits_of(SlidingWindow(model, CPU), image)
    slow = Slow(model, None, 0.0)
    assert torch.equal(run(BudgetedWindow(model, CPU), image, perf_counter(), 1000.0), expected)
    assert slow.passes == 2 + 4 * count_windows((5, 16, 18), (16, 12), 0.5)
