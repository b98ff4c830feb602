"""How far a value is from those of the training cases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri, stdtr

# standard deviations of normal values in their median absolute deviation, and between their percentiles 10 and 90
OF_NORMAL, BETWEEN = 1.4826, 2.563
MOST = 40.0


def robust_z(value: float, training: Sequence[float], floor: float) -> float:
    """Return a z-score that a few odd training cases do not change, and that is honest about how few there are.

    The distance from the median is measured in median absolute deviations, or in the distance of the percentiles 10
    and 90 if that is wider: of few cases, the former is often too small by chance. With n training cases, its
    probability is that of Student's t with n - 1 degrees of freedom; the z-score is the one with the same probability.
    So the doubled volume of an organ counts less with 5 training cases than with 50.

    Args:
        value: Of a case; take the logarithm of what is compared as a ratio.
        training: Of the training cases, in the same unit.
        floor: A smaller spread of the training cases counts as this much, in the same unit.

    Returns:
        0 to 40. 0 for what lies between the smallest and the largest value of the training cases, which is by
        definition nothing new, and for fewer than two training cases.

    Example:
        >>> round(robust_z(5.0, [1.0, 1.1, 0.9, 1.0, 1.2], floor=0.1), 1)
        4.3
        >>> robust_z(1.2, [1.0, 1.1, 0.9, 1.0, 1.2], floor=0.1)
        0.0
    """
    number = len(training)
    if number < 2 or min(training) <= value <= max(training):
        return 0.0
    median = float(np.median(training))
    deviation = OF_NORMAL * float(np.median(np.abs(np.asarray(training) - median)))
    between = float(np.subtract(*np.percentile(training, (90, 10)))) / BETWEEN
    spread = max(deviation, between, floor)
    steps = abs(value - median) / (spread * math.sqrt(1 + 1 / number))
    return min(-float(ndtri(stdtr(number - 1, -steps))), MOST)
