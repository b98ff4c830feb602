"""The benchmark of predict_tasks runs, and prints the ratios that docs/results.md quotes."""

from __future__ import annotations

import re

import pytest
from run_benchmark import run_benchmark


@pytest.mark.slow
def test_predict_tasks():
    words = "--tasks 3 --features 4 --patch 16 16 16 --image 24 30 26 --pairs 2"
    text = run_benchmark("predict_tasks.py", *words.split())
    ratios = re.search(r"time ratio ([\d.]+) .*, encoder ratio ([\d.]+), differing voxels (\d+)", text)
    assert ratios is not None, text
    assert float(ratios[1]) > 0
    assert float(ratios[2]) == 3  # tasks
    assert int(ratios[3]) == 0
