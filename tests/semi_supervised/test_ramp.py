"""The ramp at literal steps."""

from __future__ import annotations

import pytest

from nnunet_ext.semi_supervised.ramp import gaussian_ramp


@pytest.mark.parametrize(
    ("step", "length", "expected"),
    [(0, 10, 0.006737947), (5, 10, 0.2865048), (10, 10, 1), (11, 10, 1), (0, 0, 1), (3, 7.5, 0.1652989)],
)
def test_values(step, length, expected):
    assert gaussian_ramp(step, length) == pytest.approx(expected)
