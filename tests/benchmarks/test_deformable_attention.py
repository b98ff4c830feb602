"""The benchmark of deformable attention runs, draws, and finds linear growth."""

from __future__ import annotations

import re

import pytest
from run_benchmark import run_benchmark

pytestmark = pytest.mark.slow


def test_cost_grows_linearly(tmp_path):
    plot = tmp_path / "plot.png"
    text = run_benchmark("deformable_attention.py", "--doublings", "6", "--rounds", "3", "--plot", str(plot))
    growth = re.search(r"deformable tokens\^([\d.]+), dense tokens\^([\d.]+)", text)
    assert growth is not None, text
    deformable, dense = map(float, growth.groups())
    assert 0.7 < deformable < 1.3
    assert dense > 1.5
    assert plot.stat().st_size > 10_000
