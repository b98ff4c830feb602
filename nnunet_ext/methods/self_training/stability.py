"""How much the prediction of a case changed between two networks, and which cases are stable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np


def stability(earlier: np.ndarray, later: np.ndarray, classes: Iterable[int | tuple[int, ...]]) -> float | None:
    """Return the mean over classes of the Dice of two predictions of a case; None if neither finds any class.

    A class that neither finds is left out.

    Args:
        earlier: Label map (1, D, H, W), or of any shape.
        later: Another one of the same shape.
        classes: Labels, or tuples of the labels of a region.

    Example:
        >>> import numpy as np
        >>> from nnunet_ext.methods.self_training.stability import stability
        >>> stability(np.array([0, 1, 1, 2]), np.array([1, 1, 1, 0]), [1, 2, 3])  # (4 / 5 + 0) / 2
        0.4
    """
    dice = []
    for labels in classes:
        one, other = np.isin(earlier, labels), np.isin(later, labels)
        if total := int(one.sum()) + int(other.sum()):
            dice.append(2 * int((one & other).sum()) / total)
    return float(np.mean(dice)) if dice else None


def most_stable_first(found: Mapping[str, float | None]) -> list[str]:
    """Return cases by falling stability, then by name; those without a prediction of any class are last."""
    return sorted(found, key=lambda case: (found[case] is None, -(found[case] or 0.0), case))
