"""Pseudo Dice, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnunet_ext.evaluation.pseudo_dice import pseudo_dice


def test_counts_are_added_over_steps() -> None:
    """Liver 2 * 3 / (6 + 1 + 2), tumour 0, vessel never occurred."""
    steps = [
        {"tp_hard": np.array([1, 0, 0]), "fp_hard": np.array([1, 1, 0]), "fn_hard": np.array([0, 0, 0])},
        {"tp_hard": np.array([2, 0, 0]), "fp_hard": np.array([0, 0, 0]), "fn_hard": np.array([2, 0, 0])},
    ]
    assert pseudo_dice(steps) == pytest.approx((2 / 3, 0, math.nan), nan_ok=True)
