"""The benchmark of predict_tasks runs, and prints the ratios that docs/results.md quotes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_predict_tasks():
    words = [
        "--tasks",
        "3",
        "--features",
        "4",
        "--patch",
        "16",
        "16",
        "16",
        "--image",
        "24",
        "30",
        "26",
        "--pairs",
        "2",
    ]
    done = subprocess.run(
        [sys.executable, "predict_tasks.py", *words, "--pairs", "2"],
        cwd=FOLDER,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ratios = re.search(r"time ratio ([\d.]+) .*, encoder ratio ([\d.]+), differing voxels (\d+)", done.stdout)
    assert ratios is not None, done.stdout
    assert float(ratios[1]) > 0
    assert float(ratios[2]) == 3  # tasks
    assert int(ratios[3]) == 0
