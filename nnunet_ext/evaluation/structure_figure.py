"""All cases of one structure, with one panel for each metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOUR = "#0072B2"
NAMED = 3  # worst cases


def structure_figure(
    structure: str, cases: Sequence[str], panels: Mapping[str, Sequence[float | None]], *, smaller: set[str]
) -> Figure:
    """Draw the cases of a structure from the worst to the best, and name the worst.

    Args:
        structure: Its name.
        cases: Names.
        panels: By metric the values of the cases; None: not counted.
        smaller: Metrics of which the smaller value is better.

    Returns:
        A figure with a panel for each metric; a dashed line shows the mean.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
    for axes, (metric, values) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        there = [(value, case) for case, value in zip(cases, values, strict=True) if value is not None]
        there.sort(key=lambda each: each[0], reverse=metric in smaller)
        numbers = [value for value, _ in there]
        axes.plot(range(1, len(numbers) + 1), numbers, ".", color=COLOUR)
        if numbers:
            axes.axhline(float(np.mean(numbers)), color="black", linestyle="--", linewidth=0.8)
        title = f"{metric}, mean {np.mean(numbers):.3f}" if numbers else f"{metric}, no case"
        worst = ", ".join(case for _, case in there[:NAMED])
        axes.set(title=title, xlabel=f"{len(numbers)} cases, worst first: {worst}", xticks=[])
        if metric not in smaller:
            axes.set_ylim(-0.02, 1.02)
        axes.xaxis.label.set(fontsize="small", wrap=True)
        axes.grid(axis="y", alpha=0.3)
    figure.suptitle(structure)
    return figure
