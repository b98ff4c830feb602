"""Labels that two ways of resampling may tell apart: those whose weights are equal, which stock decides by rounding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

TIE = 1e-9


def assert_equal_but_ties(found: np.ndarray, expected: np.ndarray, weight: Callable[[int], np.ndarray]) -> int:
    """Refuse a label that differs where the weights of the two labels do; return how many voxels are ties that differ.

    Args:
        found: Labels (C, D, H, W).
        expected: Stock's.
        weight: Called with a label: its resampled mask (C, D, H, W), in float64.
    """
    differ = found != expected
    weights = {label: weight(label) for label in np.unique([found[differ], expected[differ]]).tolist()}
    for place in zip(*np.nonzero(differ), strict=True):
        gap = abs(weights[found[place].item()][place] - weights[expected[place].item()][place])
        assert gap < TIE, f"{place}: {found[place]} instead of {expected[place]}, whose weights differ by {gap}"
    return int(differ.sum())
