"""The curves of several trainings side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def training_curve(logs: dict[str, dict[str, list[Any]]]) -> Figure:
    """Draw pseudo-Dice and losses over epochs.

    A method whose loss has parts (``segmentation_loss``) is drawn with that part, which other trainers have too; its
    other parts are dotted.

    Args:
        logs: By trainer, the ``logging`` of an nnU-Net checkpoint.

    Returns:
        A figure of two panels.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), layout="constrained")
    dice, loss = figure.subplots(1, 2)
    for (trainer, log), colour in zip(logs.items(), COLOURS, strict=False):
        epochs = range(1, len(log["train_losses"]) + 1)
        dice.plot(epochs, log["mean_fg_dice"], color=colour, marker=".", label=trainer)
        training = log.get("segmentation_loss", log["train_losses"])
        loss.plot(epochs, training, color=colour, marker=".", label=f"{trainer}, training")
        loss.plot(epochs, log["val_losses"], color=colour, linestyle="--", label=f"{trainer}, validation")
        for name in sorted(key for key in log if key.endswith("_loss") and key != "segmentation_loss"):
            loss.plot(epochs, log[name], color=colour, linestyle=":", label=f"{trainer}, {name.replace('_', ' ')}")
    dice.set(title="Pseudo-Dice on validation patches", xlabel="epoch", ylabel="mean foreground Dice", ylim=(0, 1))
    loss.set(title="Segmentation loss (Dice + cross-entropy)", xlabel="epoch", ylabel="loss")
    for axes in (dice, loss):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure
