"""The toy of TransDoDNet runs, and prints the rows that docs/results.md quotes."""

from __future__ import annotations

import re

import pytest
from run_benchmark import run_benchmark

pytestmark = pytest.mark.slow


def test_a_row_for_each_arm_and_seed():
    words = ["--arms", "SGD:0.01:relu", "AdamW:2e-4:leaky_relu", "--seeds", "3", "--steps", "4", "--hidden", "16"]
    rows = re.findall(
        r"\| (\w+) \| ([\d.]+) \| (\w+) \| 3 \| [\d.-]+ \| [\d.-]+ \| (\d+) %", run_benchmark("two_tasks.py", *words)
    )
    assert [row[:3] for row in rows] == [("SGD", "0.01", "relu"), ("AdamW", "0.0002", "leaky_relu")]
    assert all(int(silent) < 100 for *_, silent in rows)
