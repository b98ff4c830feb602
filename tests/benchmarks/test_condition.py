"""The comparison of conditions runs, and prints the rows that docs/dodnet.md quotes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from run_benchmark import run_benchmark

from nnunet_ext.phantoms.dataset import write_phantom_dataset

pytestmark = pytest.mark.slow


def test_pooling_before_the_norm_keeps_more_of_the_image(tmp_path: Path):
    write_phantom_dataset(tmp_path, "Dataset001_A", cases=4, unseen=0, seed=0, shape=(30, 40, 30))
    folder = tmp_path / "Dataset001_A" / "imagesTr"
    text = run_benchmark("condition.py", "--images", str(folder), "--count", "4", "--seeds", "0")
    rows = re.findall(r"\| (\w+) \| 0 \| ([\d.]+) \| ([\d.]+) \|", text)
    assert [kind for kind, *_ in rows] == ["plain", "residual"]
    assert all(float(pre_norm) > float(pooled) > 0 for _, pooled, pre_norm in rows)
