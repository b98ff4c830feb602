"""The GPU script, small and on a CPU: its steps leave their figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_benchmark import run_benchmark

from nnunet_ext import sockets

pytestmark = pytest.mark.slow
STEPS = ("trainers", "planners", "compile", "predict_tasks")


def test_gpu(tmp_path: Path):
    out = tmp_path / "found.jsonl"
    run_benchmark("gpu.py", "--device", "cpu", "--tiny", "--out", str(out), "--steps", *STEPS)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    ended = {line["step"]: line["problem"] for line in lines if line["figure"] == "step"}
    assert ended == dict.fromkeys(STEPS)
    found = {(line["step"], line["figure"]): line for line in lines}
    figures = {name: line for (step, name), line in found.items() if step == "trainers" and name != "step"}
    assert sorted(figures) == sockets.names("trainers")
    assert figures["NNUNetBaselineTrainer"]["flop_ratio"] == 1
    assert 1.2 < figures["BANetTrainer"]["flop_ratio"] < 2.2  # a second decoder, no second encoder
    assert figures["LeFeDTrainer"]["memory_ratio"] > 2
    assert all(line["seconds"] > 0 and line["produced_by"] for line in figures.values())
    assert found["planners", "LeFeDPlanner"]["budget_gb"] == 8
    for planner in ("ExperimentPlanner", "LeFeDPlanner", "UniSegPlanner"):
        line = found["planners", planner]
        assert 0 < line["least_gib"] <= line["planned_gib"]
        assert 0.3 < line["peak_gib"] / line["planned_gib"] < 5  # single precision on a CPU, tiny networks
    assert "CUDA only" in found["compile", "torch.compile"]["skipped"]
    assert found["predict_tasks", "UniSegTrainer"]["differing_voxels"] == 0


def test_a_step_ends_when_its_time_is_over(tmp_path: Path):
    out = tmp_path / "found.jsonl"
    run_benchmark("gpu.py", "--device", "cpu", "--tiny", "--minutes", "0.001", "--steps", "trainers", "--out", str(out))
    (line,) = (json.loads(line) for line in out.read_text().splitlines())
    assert line["problem"] == "stopped: its time was up"
