"""The gain of each rule, fold by fold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_ext.challenges.postprocessing.learning import Learned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TAKEN, LEFT_OUT = "#0072B2", "#999999"


def gain_figure(learned: Learned) -> Figure:
    """Draw a row for each decision: a dot for each fold, and a bar for the held-out gain over all cases.

    Args:
        learned: With at least one decision.

    Returns:
        A figure; rules that were left out are grey.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.8 + 0.4 * len(learned.decisions)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="black", linewidth=0.8)
    names = []
    for row, each in enumerate(learned.decisions):
        colour = TAKEN if each.taken else LEFT_OUT
        gains = [value for value in each.fold_gains.values() if value is not None]
        axes.plot(gains, [row] * len(gains), "o", color=colour, alpha=0.6)
        if each.held_out is not None:
            axes.plot([each.held_out], [row], "|", color=colour, markersize=18, markeredgewidth=2.5)
        names.append(f"{each.structure}: {'none gains' if each.rule is None else each.rule.words}")
    axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    axes.set(
        xlabel="gain on cases that the rule was not chosen by (to the right is better)",
        title="Dot: a fold; bar: all cases; blue: taken, grey: left out",
    )
    axes.title.set(fontsize="medium")
    axes.grid(axis="x", alpha=0.3)
    return figure
