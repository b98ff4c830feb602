"""Every case of several trainers, with mean and spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nnunet_ext.comparison.scores import MEAN, ComparedRun, by_name, by_seed, larger_is_better, mean, metrics_of, spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {"dice": "Dice (to the right is better)", "hd95_mm": "95 % Hausdorff distance, mm (to the left is better)"}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def comparison_figure(runs: Sequence[ComparedRun]) -> Figure:
    """Draw a row per name and a panel per metric: a dot per case and seed, and mean ± spread over seeds.

    Args:
        runs: At least one; their names keep their order, from the top down.

    Returns:
        A figure with a panel for each metric; with several classes a case's value is its mean over them.
    """
    from matplotlib.figure import Figure

    names = by_name(runs)
    colours = {seed: COLOURS[i % len(COLOURS)] for i, seed in enumerate(sorted({run.seed for run in runs}))}
    metrics = metrics_of(runs)
    figure = Figure(figsize=(5.5 * len(metrics), 2.2 + 0.5 * len(names)), layout="constrained")
    for axes, (metric, name) in zip(figure.subplots(1, len(metrics), sharey=True), metrics.items(), strict=True):
        side = "right" if larger_is_better(metric) else "left"
        title = TITLES.get(metric, f"{name} (to the {side} is better)")
        for row, own in enumerate(names.values()):
            for run in own:
                values = list(run.values(metric, MEAN).values())
                lane = row + 0.5 * ((list(colours).index(run.seed) + 1) / (len(colours) + 1) - 0.5)
                axes.plot(values, [lane] * len(values), ".", color=colours[run.seed], alpha=0.5, label="_case")
            if seeds := by_seed(own, metric, MEAN):
                axes.errorbar(mean(seeds), row, xerr=spread(seeds), fmt="k|", markersize=16, capsize=4)
        axes.set(title=title, yticks=range(len(names)), yticklabels=list(names), ylim=(len(names) - 0.5, -0.5))
        axes.grid(axis="x", alpha=0.3)
    handles = [figure.axes[0].plot([], [], ".", color=colour)[0] for colour in colours.values()]
    figure.legend(
        handles,
        [f"seed {seed}, a case" for seed in colours],
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
    )
    figure.suptitle("Every case; bar: mean ± spread over seeds", fontsize="medium")
    return figure
