"""benchmarks/kills.py, small: one kill by each signal. The figure of docs/checkpoints.md: --kills 100."""

from __future__ import annotations

import json
import sys

import pytest
from run_benchmark import run_benchmark


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks commands and finds their processes in /proc")
def test_continued_runs_end_with_the_labels_of_the_run_that_nobody_killed(tmp_path):
    text = run_benchmark("kills.py", "--kills", "3", "--seed", "4", "--work", str(tmp_path / "kills"))
    found = json.loads(text.splitlines()[-1])
    assert found["in time"].keys() == {"SIGKILL", "SIGTERM", "SIGINT"}
    assert (found["kills"], found["equal"] + found["refused"], found["wrong"]) == (3, 3, 0), text
