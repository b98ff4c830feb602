"""The benchmarks run, and print the ratios that docs/results.md quotes."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from run_benchmark import FOLDER, run_benchmark

pytestmark = pytest.mark.slow
ORDER = """
from functools import partial
import torch
from training_step import in_turn
steps = {name: partial(print, name) for name in "abc"}
seconds = in_turn(steps, 3, torch.device("cpu"))
print([len(of_one) for of_one in seconds.values()])
"""


def test_training_step():
    words = ("--pairs", "2", "--features", "4", "--convolutions", "1", "--patch", "16", "16", "16")
    text = run_benchmark("training_step.py", *words)
    ratios = re.search(
        r"time ratio ([\d.]+) .* FLOP ratio ([\d.]+), time / FLOP ratio [\d.]+, memory ratio ([\d.]+)", text
    )
    assert ratios is not None, text
    seconds, flops, memory = map(float, ratios.groups())
    assert seconds > 0
    assert 1.2 < flops < 2.2  # a second decoder, no second encoder
    assert 1.2 < memory < 2.2


def test_rounds_alternate_the_order():
    """So no trainer always runs behind the same other one."""
    words = ["-c", ORDER]
    done = subprocess.run([sys.executable, *words], cwd=FOLDER, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["a", "b", "c", "c", "b", "a", "a", "b", "c", "[3,", "3,", "3]"]


def test_boundary_target():
    text = run_benchmark("boundary_target.py", "--pairs", "3")
    faster = re.search(r"on CPU [\d.]+ ms: (\d+) x", text)
    assert faster is not None, text
    assert int(faster[1]) >= 20
    shares = [float(share) for share in re.findall(r"([\d.]+) % of the step", text)]
    assert len(shares) == 2
    assert max(shares) <= 1
