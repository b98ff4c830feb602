"""How fragile a model is: every case under every shift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nnunet_ext.shifts.shift_scores import ShiftScores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CASE, MEAN, LOSS = "#0072B2", "#000000", "#D55E00"


def fragility_figure(scores: Sequence[ShiftScores], title: str) -> Figure:
    """Draw a row per shift: a dot per case, a bar for the mean, and the drop as a line from the unshifted mean.

    Args:
        scores: ``unshifted`` first.
        title: What was tested.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.6 + 0.34 * len(scores)), layout="constrained")
    axes = figure.subplots()
    for row, each in enumerate(scores):
        axes.plot(list(each.cases.values()), [row] * len(each.cases), ".", color=CASE, alpha=0.4)
        axes.plot([each.mean, scores[0].mean], [row, row], color=LOSS, linewidth=2)
        axes.plot([each.mean], [row], "|", color=MEAN, markersize=14, markeredgewidth=2)
    axes.axvline(scores[0].mean, color=MEAN, linewidth=0.8, linestyle=":")
    names = [each.name for each in scores]
    axes.set(yticks=range(len(scores)), yticklabels=names, ylim=(len(scores) - 0.5, -0.5), xlim=(-0.02, 1.02))
    axes.set(
        xlabel="Dice; dot: a case, bar: mean, line: what the shift costs", title=f"How fragile is this model?\n{title}"
    )
    axes.grid(axis="x", alpha=0.3)
    return figure
