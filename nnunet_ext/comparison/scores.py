"""What one finished run of a comparison scored."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nnunet_ext.evaluation.mask_metrics import parse_metrics

METRICS = {"dice": "Dice", "hd95_mm": "HD95 mm"}  # of all runs; further ones have the names that users write
MEAN = "foreground mean"


@dataclass(frozen=True)
class ComparedRun:
    """One training: its name, which several seeds and folds share, and its scores.

    Args:
        name: What is compared.
        seed: Of the training.
        fold: Number, or ``all``.
        seconds: Duration of the training.
        cases: By case and class, ``{"dice": ..., "hd95_mm": ...}`` and further metrics; None where a class is in
            neither label map.
        site: The site that the fold validates on, if its folds are those of sites.
    """

    name: str
    seed: int
    fold: str
    seconds: float
    cases: dict[str, dict[str, dict[str, float | None]]]
    site: str | None = None

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> ComparedRun:
        """Read what is compared from a run's JSON."""
        of_training = record["name"], record["seed"], record["fold"], record["training_seconds"]
        return cls(*of_training, record["cases"], record.get("site"))

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return list(next(iter(self.cases.values())))

    @property
    def metrics(self) -> list[str]:
        """What was scored."""
        return list(next(iter(next(iter(self.cases.values())).values())))

    def values(self, metric: str, class_name: str) -> dict[str, float]:
        """Return a metric by case; without the cases in which it is not defined.

        Args:
            metric: ``dice``, ``hd95_mm`` or a further one.
            class_name: A class, or ``foreground mean`` for the mean over those that a case has.
        """
        wanted = self.classes if class_name == MEAN else [class_name]
        found = {case: [scores[name][metric] for name in wanted] for case, scores in self.cases.items()}
        means = {case: mean(values) for case, values in found.items()}
        return {case: value for case, value in means.items() if value is not None}


def larger_is_better(metric: str) -> bool:
    """Whether the larger value of a metric is better; of distances, it is the smaller one."""
    return metric == "dice" or (metric not in METRICS and parse_metrics(metric)[0].larger_is_better)


def metrics_of(runs: Sequence[ComparedRun]) -> dict[str, str]:
    """Return {metric: title} of what was scored in all runs."""
    common = [metric for metric in runs[0].metrics if all(metric in run.metrics for run in runs)]
    return {metric: METRICS.get(metric, metric) for metric in common}


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the defined values, or None if there are none."""
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if present else None


def by_seed(runs: Sequence[ComparedRun], metric: str, class_name: str) -> list[float]:
    """Return for each seed the mean over the cases of all its folds."""
    seeds = sorted({run.seed for run in runs})
    means = [
        mean(value for run in runs if run.seed == seed for value in run.values(metric, class_name).values())
        for seed in seeds
    ]
    return [value for value in means if value is not None]


def spread(values: Sequence[float]) -> float | None:
    """Return the standard deviation of the population that these seeds are a sample of; None for a single seed."""
    return statistics.stdev(values) if len(values) > 1 else None


def by_name(runs: Iterable[ComparedRun]) -> dict[str, list[ComparedRun]]:
    """Return the runs of each name, in order."""
    found: dict[str, list[ComparedRun]] = {}
    for run in runs:
        found.setdefault(run.name, []).append(run)
    return found
