"""The benchmarks run, and print the ratios that docs/results.md quotes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parents[2] / "benchmarks"


def printed(script: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, script, *words],
        cwd=FOLDER,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_training_step():
    words = ("--pairs", "2", "--features", "4", "--convolutions", "1", "--patch", "16", "16", "16")
    text = printed("training_step.py", *words)
    ratios = re.search(
        r"time ratio ([\d.]+) .* FLOP ratio ([\d.]+), time / FLOP ratio [\d.]+, memory ratio ([\d.]+)", text
    )
    assert ratios is not None, text
    seconds, flops, memory = map(float, ratios.groups())
    assert seconds > 0
    assert 1.2 < flops < 2.2  # a second decoder, no second encoder
    assert 1.2 < memory < 2.2


def test_boundary_target():
    text = printed("boundary_target.py", "--pairs", "3")
    faster = re.search(r"on CPU [\d.]+ ms: (\d+) x", text)
    assert faster is not None, text
    assert int(faster[1]) >= 20
    shares = [float(share) for share in re.findall(r"([\d.]+) % of the step", text)]
    assert len(shares) == 2
    assert max(shares) <= 1
