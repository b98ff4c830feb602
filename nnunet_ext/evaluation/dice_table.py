"""Dice of several trainers on the same cases, as one table."""

from __future__ import annotations

import math
from typing import Any

from nnunet_ext.evaluation.markdown_table import markdown_table


def dice_table(summaries: dict[str, dict[str, Any]], names: dict[str, str], seconds: dict[str, float]) -> str:
    """Write a Markdown table: a row per class, the foreground mean and the training time; a column per trainer.

    Args:
        summaries: By trainer, what ``nnUNetv2_evaluate_folder`` wrote into ``summary.json``.
        names: Class names by their keys in the summaries.
        seconds: By trainer, how long it trained.

    Returns:
        The table without a final line break. A class that no case has reads "none".
    """
    rows = [["mean Dice on unseen cases", *summaries]]
    for key, name in names.items():
        rows.append([name, *(_score(summary["mean"][key]["Dice"]) for summary in summaries.values())])
    rows.append(["foreground mean", *(_score(summary["foreground_mean"]["Dice"]) for summary in summaries.values())])
    rows.append(["training, seconds", *(f"{seconds[trainer]:.0f}" for trainer in summaries)])
    return markdown_table(rows)


def _score(value: float | None) -> str:
    return "none" if value is None or math.isnan(value) else f"{value:.3f}"
