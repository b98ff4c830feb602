"""The benchmark of deformable attention runs, draws, and finds linear growth."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parents[2] / "benchmarks"


def test_cost_grows_linearly(tmp_path):
    plot = tmp_path / "plot.png"
    done = subprocess.run(
        [sys.executable, "deformable_attention.py", "--doublings", "6", "--rounds", "3", "--plot", str(plot)],
        cwd=FOLDER,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    growth = re.search(r"deformable tokens\^([\d.]+), dense tokens\^([\d.]+)", done.stdout)
    assert growth is not None, done.stdout
    deformable, dense = map(float, growth.groups())
    assert 0.7 < deformable < 1.3
    assert dense > 1.5
    assert plot.stat().st_size > 10_000
