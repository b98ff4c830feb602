"""Steps that fill the same time, cases that nothing trains on, and the table, by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "self_training.py"
SECONDS = {"nnU-Net": 0.1, "both": 0.2, "warm-up": 0.1, "BCP": 0.3, "prediction": 50, "without mirroring": 10}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_self_training", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("arm", "steps"),
    [
        ("nnU-Net", 150),  # 600 s / 40 epochs / 0.1 s
        ("BCP", 75),
        ("rounds, mixing", 86),  # 500 s / (22 x 0.1 s + 18 x 0.2 s)
        ("rounds, mixing, no mirroring", 100),  # 580 s
        ("rounds, mixing, selection", 78),  # 450 s
        ("one round", 95),  # 550 s
        ("rounds, mixing, selection, fine-tuning", 83),  # 450 s / (26 x 0.1 s + 14 x 0.2 s)
    ],
)
def test_each_arm_has_the_same_time(script, arm, steps):
    assert script.steps_of(arm, SECONDS, 600) == steps


def test_predictions_that_take_all_of_the_time_are_refused(script):
    with pytest.raises(SystemExit, match="longer than --minutes"):
        script.steps_of("rounds, selection", SECONDS, 150)


def test_no_case_serves_two_purposes(script, tmp_path):
    (tmp_path / "labelsTr").mkdir()
    for number in range(200):
        (tmp_path / "labelsTr" / f"case_{number:03d}.nii.gz").touch()
    (tmp_path / "labelled_first.txt").write_text("\n".join(f"c{number}" for number in range(80)))
    for data, labelled, counts in (
        ("atrium", 4, [4, 16, 60]),
        ("atrium", 8, [8, 16, 56]),
        ("hippocampus", 10, [10, 40, 150]),
    ):
        parts = script.parts_of(data, tmp_path, labelled, few=False)
        assert [len(set(cases)) for cases in parts.values()] == counts
        assert len(set().union(*parts.values())) == sum(counts)


def test_the_table(script):
    def run(seconds, dice, distance):
        cases = {name: {"x": {"dice": value, "hd95_mm": distance}} for name, value in zip("ab", dice, strict=True)}
        knobs = {"num_epochs": 40, "num_iterations_per_epoch": 50}
        return {"cpu_seconds": seconds, "knobs": knobs, "cases": cases}

    runs = {"rounds": [run(700.4, (0.8, 0.9), 5.0), run(710, (0.6, 0.9), 8.0)]}
    assert script.table(runs).splitlines()[2] == (
        "| rounds | 2000 | 700, 710 | 0.850, 0.750 | 0.800 ± 0.071 | 0.800, 0.600 | 5.0, 8.0 | 6.5 |"
    )
