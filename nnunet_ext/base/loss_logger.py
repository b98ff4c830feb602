"""nnU-Net's log with more curves: the terms of a method's loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunetv2.training.logging.nnunet_logger import LocalLogger


class PartsLogger(LocalLogger):
    """Local logger that takes one more value per epoch for each name in ``parts``.

    The values are saved in the checkpoint like nnU-Net's own. ``progress.png`` stays as it is; the parts are drawn into
    ``progress_parts.png`` beside it, with the validation loss for comparison.
    """

    def __init__(self) -> None:
        super().__init__()
        self.parts: tuple[str, ...] = ()

    def add(self, parts: Sequence[str]) -> None:
        """Log these parts from now on."""
        self.parts = (*self.parts, *parts)
        self.my_fantastic_logging.update({name: [] for name in parts})

    def log(self, key: str, value: Any, epoch: int) -> None:
        """Log a value; the moving average of the pseudo-Dice does not change if no class could be scored.

        In stock nnU-Net it stays NaN from then on, and no later checkpoint is ever the best.
        """
        if key == "ema_fg_dice" and math.isnan(value):
            value = next((past for past in reversed(self.my_fantastic_logging[key][:epoch])), 0.0)
        super().log(key, value, epoch)

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore a checkpoint's log; epochs that were trained without these parts read NaN."""
        super().load_checkpoint(checkpoint)
        epochs = len(self.my_fantastic_logging["train_losses"])
        for name in self.parts:
            values = self.my_fantastic_logging.setdefault(name, [])
            values += [math.nan] * (epochs - len(values))

    def plot_progress_png(self, output_folder: str) -> None:
        """Draw ``progress.png`` as nnU-Net does, and ``progress_parts.png``."""
        super().plot_progress_png(output_folder)
        if self.parts:
            self.plot_parts(Path(output_folder))

    def plot_parts(self, folder: Path) -> None:
        """Draw the parts into ``progress_parts.png``."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 5), layout="constrained")
        axes = figure.subplots()
        for name in (*self.parts, "val_losses"):
            style = "--" if name == "val_losses" else "-"
            axes.plot(self.my_fantastic_logging[name], style, label=name.replace("_", " "))
        axes.set(xlabel="epoch", ylabel="loss")
        axes.legend()
        figure.savefig(folder / "progress_parts.png", dpi=120)
