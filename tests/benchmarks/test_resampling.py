"""The benchmark of resampling runs; its results differ from nnU-Net's only as documented."""

from __future__ import annotations

import pytest
from run_benchmark import run_benchmark


@pytest.mark.slow
def test_resampling():
    lines = run_benchmark("resampling.py", "--small", "--pairs", "1").strip().splitlines()[2:-2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len(rows) == 10
    for name, _, _, _, _, ratio, difference, *peaks in rows:
        assert float(ratio) > 0
        assert len(peaks) == 2
        if name.startswith("image"):
            assert float(difference) < 5e-6
        else:
            assert int(difference.removesuffix(" voxels")) < 5
