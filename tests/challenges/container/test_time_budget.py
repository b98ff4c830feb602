"""The time budget, with a network that is slow on purpose."""

from __future__ import annotations

import logging
import time
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
PASS = 0.03  # seconds of a pass


class Slow:
    """Counts the passes of a network and makes each slow."""

    def __init__(self, model: TrainedModel, seconds: float = PASS) -> None:
        self.seconds, self.passes = seconds, 0
        model.network.register_forward_hook(self._wait)

    def _wait(self, *_: Any) -> None:
        self.passes += 1
        time.sleep(self.seconds)


@pytest.fixture
def model(tmp_path: Path) -> TrainedModel:
    """Two folds, mirrored along two axes; an image of SHAPE has four windows for each."""
    assert count_windows(SHAPE, (8, 16, 12), 0.5) == 4
    return TrainedModel.load(write_small_model(tmp_path, folds=(0, 1), axes=(0, 1)))


@pytest.fixture
def image() -> torch.Tensor:
    return torch.from_numpy(phantom(SHAPE))


def logits_of(window: SlidingWindow, image: torch.Tensor) -> torch.Tensor:
    return torch.cat([slab.clone() for slab in window.slabs(image)], 1)


def run(window: BudgetedWindow, image: torch.Tensor, seconds: float) -> tuple[torch.Tensor, float]:
    start = perf_counter()
    window.deadline = start + seconds
    return logits_of(window, image), perf_counter() - start


def test_enough_time_changes_nothing(
    model: TrainedModel, image: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    expected = logits_of(SlidingWindow(model, CPU), image)
    window = BudgetedWindow(model, CPU)
    assert torch.equal(logits_of(window, image), expected)  # no deadline
    with caplog.at_level(logging.INFO):
        assert torch.equal(run(window, image, 1000.0)[0], expected)
    assert "time budget" not in caplog.text


@pytest.mark.parametrize(
    ("passes", "folds", "axes"),
    [(20, 2, 1), (12, 2, 0), (7, 1, 0)],  # all would take 4 windows x 2 folds x 4
)
def test_what_is_dropped(
    model: TrainedModel, image: torch.Tensor, caplog: pytest.LogCaptureFixture, passes: int, folds: int, axes: int
) -> None:
    """Mirroring first, then folds; the time is kept within 10 %, and the rest is predicted as usual."""
    slow = Slow(model, 5 * PASS)
    budget = 5 * PASS * (passes + 2)  # two passes are the trial
    window = BudgetedWindow(model, CPU)
    with caplog.at_level(logging.WARNING):
        found, seconds = run(window, image, budget)
    assert seconds <= 1.1 * budget
    assert f"Predicting with {folds} of 2 folds, mirrored along {axes} of 2 axes" in caplog.text
    slow.seconds = 0
    fewer = TrainedModel(**{**vars(model), "parameters": model.parameters[:folds]})
    fewer.use(fewer.parameters[0])
    plain = SlidingWindow(fewer, CPU)
    plain.mirroring_axes = (0, 1)[:axes]
    if "From here on" not in caplog.text:
        assert torch.equal(found, logits_of(plain, image))


def test_nothing_is_dropped_for_good(model: TrainedModel, image: torch.Tensor) -> None:
    """An image that had to do with one fold leaves nothing behind, nor does one that was not finished."""
    expected = logits_of(SlidingWindow(model, CPU), image)
    window = BudgetedWindow(model, CPU)
    run(window, image, 1e-9)
    assert torch.equal(run(window, image, 1000.0)[0], expected)
    window.deadline = perf_counter()
    unfinished = window.slabs(image)
    next(unfinished)
    window.deadline = None
    assert torch.equal(logits_of(window, image), expected)
    del unfinished


def test_a_network_that_becomes_slower(
    model: TrainedModel, image: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    """All fits at first; after the trial each pass takes four times as long, and mirrorings are dropped on the way."""
    slow = Slow(model, PASS)
    window = BudgetedWindow(model, CPU)

    def slower(done: int, _: int) -> None:
        slow.seconds = 4 * PASS

    start = perf_counter()
    window.deadline = start + 38 * PASS + 0.5  # all 34 passes would fit
    with caplog.at_level(logging.WARNING):
        for _ in window.slabs(image, progress=slower):
            pass
    assert perf_counter() <= window.deadline + 0.1 * (window.deadline - start)
    assert "From here on mirrored along" in caplog.text
    assert slow.passes < 2 + 32


def test_too_little_time_for_anything(
    model: TrainedModel, image: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Slow(model, 0)
    with caplog.at_level(logging.WARNING):
        found, _ = run(BudgetedWindow(model, CPU), image, 1e-9)
    assert "1 of 2 folds, mirrored along 0 of 2 axes" in caplog.text
    assert caplog.text.strip().endswith("it will be late")
    assert slow.passes == 2 + 4
    assert found.shape[1:] == SHAPE


def test_2d(tmp_path: Path) -> None:
    """The trial's window is a slice."""
    model = TrainedModel.load(write_small_model(tmp_path, axes=(0, 1), patch_size=[16, 12], spacing=[1.0, 1.0]))
    image = torch.from_numpy(phantom((5, 16, 18)))
    expected = logits_of(SlidingWindow(model, CPU), image)
    slow = Slow(model, 0)
    assert torch.equal(run(BudgetedWindow(model, CPU), image, 1000.0)[0], expected)
    assert slow.passes == 2 + 4 * count_windows((5, 16, 18), (16, 12), 0.5)
