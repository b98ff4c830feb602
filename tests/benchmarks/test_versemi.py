"""The comparison of VerSemi and DoDNet runs, prints a row for each arm, and does not repeat what is finished."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from run_benchmark import run_benchmark

from nnunet_ext.phantoms.dataset import write_phantom_dataset

pytestmark = pytest.mark.slow


def test_arms_on_phantoms(tmp_path: Path):
    for number, name in ((4, "Dataset004_Hippocampus"), (20, "Dataset020_LeftAtrium")):
        write_phantom_dataset(tmp_path / "raw", name, cases=10, seed=number, shape=(12, 20, 20))
    words = ["--raw", str(tmp_path / "raw"), "--work", str(tmp_path / "work"), "--steps", "20", "--cases", "1"]
    words += ["--seeds", "0", "--only", "DoDNet", "full"]
    first = run_benchmark("versemi.py", *words)
    rows = re.findall(r"^\| (DoDNet|full) \| (\d+) \| ([\d.]+) \| ", first, re.MULTILINE)
    assert rows[0][:2] == ("DoDNet", "20")
    assert rows[1][1] in ("10", "20")
    again = run_benchmark("versemi.py", *words)
    assert "$ " not in again
    assert again.splitlines()[-4:] == first.splitlines()[-4:]
