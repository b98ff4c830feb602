"""DoDNet's benchmarks run, and print the ratios that docs/dodnet.md quotes."""

from __future__ import annotations

import re

import pytest
from run_benchmark import run_benchmark

pytestmark = pytest.mark.slow


def test_three_ways_to_compute_the_head():
    text = run_benchmark("dynamic_head.py", "--batch", "2", "--patch", "32", "32", "32", "--rounds", "5")
    ratios = {name.strip(): float(ratio) for name, ratio in re.findall(r"cpu, (.*?)\s*: .* ms, +([\d.]+) x ours", text)}
    assert sorted(ratios) == ["batched matrix product (ours)", "grouped convolution", "loop over samples"]
    assert ratios["grouped convolution"] > 1


def test_seven_tasks_cost_little_more_than_one():
    words = ["--features", "32", "--patch", "16", "24", "16", "--image", "20", "30", "20", "--pairs", "5"]
    ratio = re.search(r"7 tasks [\d.]+ s, ratio ([\d.]+)", run_benchmark("predict_dodnet.py", *words, "--no_mirroring"))
    assert float(ratio[1]) <= 1.3
