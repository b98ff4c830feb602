"""How far two label maps of a case agree."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray


def agreement(
    one: NDArray[np.integer[Any]], other: NDArray[np.integer[Any]], classes: Mapping[str, int | tuple[int, ...]]
) -> float:
    """Return the mean Dice over the classes that at least one of two label maps has; 1 if there is none.

    Args:
        one: (D, H, W).
        other: (D, H, W).
        classes: For each class its label, or the labels of its region.

    Example:
        >>> agreement(np.array([0, 1, 1, 2]), np.array([0, 1, 1, 1]), {"organ": 1, "tumour": 2, "cyst": 3})
        0.4
    """
    dices = []
    for values in classes.values():
        first, second = np.isin(one, values), np.isin(other, values)
        if size := np.count_nonzero(first) + np.count_nonzero(second):
            dices.append(2 * np.count_nonzero(first & second) / size)
    return fmean(dices) if dices else 1.0
