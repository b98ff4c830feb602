"""The memory of the export of 45 organs, from logits of 55 classes to masks, is bounded."""

from __future__ import annotations

import pytest
from run_benchmark import run_benchmark


@pytest.mark.slow
def test_the_memory_of_a_case_of_segrap():
    """126 x 512 x 512 voxels: at most 3 GiB above the input are asked for, and far less is needed."""
    lines = run_benchmark("structures.py", "--only", "126x512x512").strip().splitlines()[2:]
    (cells,) = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    steps = [float(cell.split()[0]) for cell in cells[3:6]]
    assert len(steps) == 3
    assert all(0.02 < gib < 0.25 for gib in steps), steps  # a label map has 0.03 GiB, all masks at once 1.4
    assert float(cells[6]) == 1.4
