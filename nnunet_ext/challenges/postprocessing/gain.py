"""How much better a challenge's means are after a rule."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from nnunet_ext.challenges.challenge import Challenge
from nnunet_ext.challenges.scored_case import Values

SMALLEST = 1e-12  # what is below comes from rounding


def mean_of(column: str, cases: Iterable[Values]) -> float | None:
    """Return the mean of a column over the cases in which it is counted; None: it is in no case."""
    values = [value for case in cases if (value := case[column]) is not None]
    return statistics.fmean(values) if values else None


def gain(
    columns: Sequence[str],
    before: Sequence[Values],
    after: Sequence[Values],
    scales: Mapping[str, float],
) -> float | None:
    """Return the mean gain over some columns: of each, the mean over cases after, less the one before.

    Distances, of which the smaller is better, count with the other sign and in units of their mean without rules, so
    that they can be averaged with Dice.

    Args:
        columns: Those that count.
        before: The numbers of cases.
        after: Those of the same cases after a rule.
        scales: What differences are divided by, see :func:`scales_of`.

    Returns:
        Above 0: better. None: no column is counted both before and after.
    """
    found = []
    for column in columns:
        first, second = mean_of(column, before), mean_of(column, after)
        if first is not None and second is not None:
            found.append((second - first) / scales[column])
    return statistics.fmean(found) if found else None


def scales_of(challenge: Challenge, cases: Sequence[Values]) -> dict[str, float]:
    """Return what differences of each column are divided by: 1; for distances their mean, with a minus.

    Args:
        challenge: It says of which columns the larger value is better.
        cases: The numbers of all cases without rules.
    """
    return {
        column: 1.0 if measure.metric.larger_is_better else -(mean_of(column, cases) or 1.0)
        for column, measure in challenge.measures.items()
    }
