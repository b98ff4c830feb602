"""nnU-Net's pseudo Dice: what its validation after each epoch measures, on patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def pseudo_dice(outputs: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    """Return the pseudo Dice of each class from what validation steps returned; NaN if it did not occur.

    Args:
        outputs: Of all steps and ranks, each with ``tp_hard``, ``fp_hard`` and ``fn_hard`` of shape (classes,).

    Example:
        >>> from nnunet_ext.evaluation.pseudo_dice import pseudo_dice
        >>> pseudo_dice([{"tp_hard": [3, 0], "fp_hard": [1, 0], "fn_hard": [1, 0]}])
        (0.75, nan)
    """
    tp, fp, fn = (np.sum([each[name] for each in outputs], axis=0) for name in ("tp_hard", "fp_hard", "fn_hard"))
    with np.errstate(invalid="ignore"):
        return tuple(float(value) for value in 2 * tp / (2 * tp + fp + fn))
