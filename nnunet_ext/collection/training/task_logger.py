"""nnU-Net's log with curves for every task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_ext.base.loss_logger import PartsLogger


class TaskLogger(PartsLogger):
    """Local logger that takes each task's training loss too, and draws ``progress_tasks.png``.

    nnU-Net's ``dice_per_class_or_region`` holds all (task, class) pairs, task after task.

    Args:
        tasks: Class names by task.

    Attributes:
        places: By task, the slice of its classes.
        total: Number of pairs.
    """

    def __init__(self, tasks: Mapping[str, Sequence[str]]) -> None:
        self.tasks = {name: tuple(classes) for name, classes in tasks.items()}
        self.places: dict[str, slice] = {}
        self.total = 0
        for name, classes in self.tasks.items():
            self.places[name] = slice(self.total, self.total + len(classes))
            self.total += len(classes)
        super().__init__()
        self.add([f"loss of {name}" for name in self.tasks])

    def log_loss(self, task: str, losses: Sequence[float], epoch: int) -> None:
        """Log a task's mean training loss of an epoch, NaN if it was not trained in it."""
        self.log(f"loss of {task}", float(np.mean(losses)) if len(losses) else math.nan, epoch)

    def lines(self) -> list[str]:
        """Return the last epoch in words: a line for each task."""
        dice = self.my_fantastic_logging["dice_per_class_or_region"][-1]
        return [
            f"{name}: loss {self.my_fantastic_logging[f'loss of {name}'][-1]:.4f}, pseudo dice "
            + ", ".join(f"{label} {value:.4f}" for label, value in zip(classes, dice[self.places[name]], strict=True))
            for name, classes in self.tasks.items()
        ]

    def plot_parts(self, folder: Path) -> None:
        """Draw each task's mean pseudo-Dice and loss over the epochs into ``progress_tasks.png``."""
        from matplotlib.figure import Figure

        history: list[list[Any]] = self.my_fantastic_logging["dice_per_class_or_region"]
        figure = Figure(figsize=(12, 4.5), layout="constrained")
        dice, loss = figure.subplots(1, 2)
        for name, place in self.places.items():
            dice.plot([_mean(epoch[place]) for epoch in history], marker=".", label=name)
            loss.plot(self.my_fantastic_logging[f"loss of {name}"], marker=".", label=name)
        dice.set(title="Pseudo-Dice on validation patches", xlabel="epoch", ylabel="mean over classes", ylim=(0, 1))
        loss.set(title="Training loss", xlabel="epoch", ylabel="loss")
        for axes in (dice, loss):
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")
        figure.savefig(folder / "progress_tasks.png", dpi=120)


def _mean(values: Sequence[float]) -> float:
    """Mean of the defined values."""
    there = [value for value in values if not math.isnan(value)]
    return float(np.mean(there)) if there else math.nan
