"""Agreement of two label maps."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.adaptation.agreement import agreement

ONE, OTHER = np.array([0, 1, 1, 2]), np.array([0, 1, 1, 1])


def test_regions() -> None:
    assert agreement(ONE, OTHER, {"whole": (1, 2), "core": 2}) == pytest.approx((1 + 0) / 2)
    assert agreement(ONE, OTHER, {"whole": (1, 2), "left": 1}) == pytest.approx((1 + 0.8) / 2)


def test_nothing_in_both_is_full_agreement() -> None:
    assert agreement(ONE * 0, OTHER * 0, {"organ": 1}) == 1
