"""How far two label maps of a case agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def agreement(
    one: NDArray[np.integer[Any]], other: NDArray[np.integer[Any]], classes: Mapping[str, int | tuple[int, ...]]
) -> float:
    """Return the smallest Dice of the classes that at least one of two label maps has; 1 if there is none.

    Args:
        one: (D, H, W).
        other: (D, H, W).
        classes: For each class its label, or the labels of its region.

    Example:
        >>> agreement(np.array([0, 1, 1, 2]), np.array([0, 1, 1, 1]), {"organ": 1, "tumour": 2, "cyst": 3})
        0.0
        >>> agreement(np.array([0, 1, 1, 2]), np.array([0, 1, 1, 1]), {"organ": 1, "whole": (1, 2)})
        0.8
    """
    dices = []
    for values in classes.values():
        first, second = np.isin(one, values), np.isin(other, values)
        if size := np.count_nonzero(first) + np.count_nonzero(second):
            dices.append(2 * int(np.count_nonzero(first & second)) / int(size))
    return min(dices, default=1.0)
