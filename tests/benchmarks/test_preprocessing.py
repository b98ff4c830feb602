"""The benchmark of preprocessing runs, and prints the table that docs/results.md quotes."""

from __future__ import annotations

import re

from run_benchmark import run_benchmark


def test_both_prepare_the_same_data():
    text = run_benchmark("preprocessing.py", "--small")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert "\n2 cases of 16 x 48 x 48 voxels, 1 processes\n" in text
    assert [kind for kind, *_ in rows[2:4]] == ["wall", "CPU"]
    assert all(min(map(float, values)) > 0 for _, *values in rows[2:4])
    differ = re.search(r"\nimages differ by (\S+) of their range; (\S+) of the labels differ\n", text)
    assert differ is not None
    assert float(differ[1]) <= 5e-6
    assert float(differ[2]) <= 0.01
    steps = {name: (float(theirs), float(ours)) for name, theirs, ours in rows[6:]}
    assert list(steps)[-1] == "in all"
    assert all(sum(each[side] for each in steps.values()) > 0 for side in (0, 1))
    assert min(steps["resampling"]) > 0  # both resampled
