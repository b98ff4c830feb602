"""Agreement of two label maps."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.adaptation.agreement import agreement

ONE, OTHER = np.array([0, 1, 1, 2]), np.array([0, 1, 1, 1])


def test_the_worst_class_counts_and_regions_are_whole() -> None:
    assert agreement(ONE, OTHER, {"whole": (1, 2)}) == 1
    assert agreement(ONE, OTHER, {"whole": (1, 2), "left": 1}) == pytest.approx(0.8)
    assert agreement(ONE, OTHER, {"left": 1, "core": 2, "whole": (1, 2), "in neither": 3}) == 0


def test_nothing_in_both_is_full_agreement() -> None:
    assert agreement(ONE * 0, OTHER * 0, {"organ": 1}) == 1
