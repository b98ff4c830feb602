"""Which cases the simulated annotation draws, and its table by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "next_cases.py"
CASES = [f"case_{number:03d}" for number in range(200)]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_next_cases", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scored_cases_are_the_same_for_each_seed_and_never_chosen_from(script):
    drawn = [script.draw(CASES, seed, 60, 100, 5) for seed in range(3)]
    assert len({tuple(each["scored"]) for each in drawn}) == 1
    assert len({tuple(each["start"]) for each in drawn}) == 3
    for each in drawn:
        assert {part: len(set(cases)) for part, cases in each.items()} == {"scored": 60, "start": 5, "pool": 95}
        assert len(set().union(*each.values())) == 160
    assert drawn[1] == script.draw(CASES, 1, 60, 100, 5)


def test_the_table(script):
    def run(seed, arm, dice, distance, cases):
        measures = {"dice": dict(zip("xy", dice, strict=True)), "hd95_mm": dict(zip("xy", distance, strict=True))}
        return {"seed": seed, "arm": arm, "cases": ["c"] * cases} | measures

    runs = [
        run(0, "start", (0.5, 0.7), (2, 4), 5),
        run(1, "start", (0.7, 0.9), (1, 2), 5),
        run(1, "random", (0.8, 0.9), (1, 1), 10),
    ]
    assert [[cell.strip() for cell in row.split("|")[1:-1]] for row in script.table(runs).splitlines()[2:]] == [
        ["start", "5", "0.6000, 3.00", "0.8000, 1.50", "0.7000", "2.25"],
        ["random", "10", "", "0.8500, 1.00", "0.8500", "1.00"],
    ]


@pytest.mark.parametrize("steps", ["805", "5", "0"])
def test_steps_that_are_no_whole_number_in_each_epoch(script, tmp_path, monkeypatch, capsys, steps):
    words = ["next_cases.py", "--raw", str(tmp_path), "--work", str(tmp_path / "work"), "--steps", steps]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit):
        script.main()
    assert f"--steps: expected a multiple of 10, for as many epochs, got {steps}." in capsys.readouterr().err
    assert not (tmp_path / "work").exists()
