"""Mean and spread of several trainers on the same cases, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from nnunet_ext.comparison.scores import (
    MEAN,
    METRICS,
    ComparedRun,
    by_name,
    by_seed,
    larger_is_better,
    mean,
    metrics_of,
    spread,
)
from nnunet_ext.evaluation.hausdorff import DEFINITION
from nnunet_ext.evaluation.markdown_table import markdown_table
from nnunet_ext.evaluation.mask_metrics import parse_metrics

DIGITS, OF_DISTANCES = 3, 2


def comparison_table(runs: Sequence[ComparedRun]) -> str:
    """Write two tables: a row per name with mean and spread over seeds, and a row per run.

    Args:
        runs: At least one, all with the same classes; their names keep their order.

    Returns:
        Both tables and how to read them, without a final line break.
    """
    classes, metrics = runs[0].classes, metrics_of(runs)
    columns = [*classes, MEAN] if len(classes) > 1 else classes
    heads = [f"{name}, {title}" for name in columns for title in metrics.values()]
    rows = [["mean ± spread over seeds", "seeds", *heads, "training, seconds"]]
    for name, own in by_name(runs).items():
        cells = [_cell(by_seed(own, metric, column), metric) for column in columns for metric in metrics]
        seconds = mean(run.seconds for run in own)
        rows.append([name, str(len({run.seed for run in own})), *cells, f"{seconds:.0f}"])
    each = [["each run", "fold", "seed", *heads, "training, seconds"]]
    for run in runs:
        cells = [
            _cell([value for value in [mean(run.values(metric, column).values())] if value is not None], metric)
            for column in columns
            for metric in metrics
        ]
        fold = run.fold if run.site is None else f"{run.fold}: {run.site}"
        each.append([run.name, fold, str(run.seed), *cells, f"{run.seconds:.0f}"])
    notes = (
        f"HD95: {DEFINITION}. A class that only truth or prediction has counts as Dice 0 and the image's diagonal; one "
        f"that neither has is left out. Spread: standard deviation over seeds (n - 1) of the mean over cases."
    )
    further = [parse_metrics(metric)[0] for metric in metrics if metric not in METRICS]
    notes = " ".join([notes, *(f"{metric.name}: {metric.definition}." for metric in further)])
    return "\n\n".join([markdown_table(rows), markdown_table(each), notes])


def _cell(seeds: Sequence[float], metric: str) -> str:
    digits = DIGITS if larger_is_better(metric) else OF_DISTANCES
    average, deviation = mean(seeds), spread(seeds)
    if average is None:
        return "none"
    return f"{average:.{digits}f}" if deviation is None else f"{average:.{digits}f} ± {deviation:.{digits}f}"
