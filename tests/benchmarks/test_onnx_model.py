"""The benchmark of the ONNX format runs, and its numbers are those of three predictions."""

from __future__ import annotations

import re

from run_benchmark import run_benchmark


def test_small() -> None:
    lines = run_benchmark("onnx_model.py", "--small").splitlines()
    assert re.fullmatch(r"export: [\d.]+ s, [\d.]+ MiB; load [\d.]+; 1 thread\(s\)", lines[0])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[4:]]
    assert [row[0] for row in rows] == ["nnU-Net", "nnunet_ext predict", "nnunet_ext predict_onnx"]
    assert rows[0][4] == "0"
    assert int(rows[2][4]) <= 16 * 30 * 30 / 1000
    memory = [float(row[3]) for row in rows]
    assert memory[2] < memory[0], "torch is not loaded"
