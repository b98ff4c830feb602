"""No case serves two purposes; gate, table and choice by hand; a trial of all of it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from run_benchmark import FOLDER, run_benchmark

DATA = Path(os.environ.get("NNUNET_EXT_REAL_DATA", FOLDER.parents[1] / "shared" / "data")).resolve()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(FOLDER))
        spec = importlib.util.spec_from_file_location("benchmark_grata", FOLDER / "grata.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def record(case: str, shift: str, plain: float, adapted: float, agreement: float) -> dict[str, Any]:
    found = {"case": case, "seed": 0, "shift": shift, "plain": plain, "adapted": adapted}
    found |= {"plain, classes": {"x": plain, "y": None}, "adapted, classes": {"x": adapted, "y": None}}
    return found | {"agreement": agreement, "factor": 3.0}


RECORDS = [
    record("a", "unshifted", 0.90, 0.91, 0.99),
    record("b", "unshifted", 0.80, 0.785, 0.97),
    record("a", "blur 2", 0.60, 0.70, 0.90),
    record("b", "blur 2", 0.50, 0.45, 0.95),
]


def test_tuning_looks_at_no_scored_case(script):
    scored, tuned = script.folds([f"case_{number:03d}" for number in range(200)])
    assert [len(scored["train"]), len(scored["val"]), len(tuned["train"]), len(tuned["val"])] == [150, 50, 112, 38]
    assert not set(scored["val"]) & {*scored["train"], *tuned["train"], *tuned["val"]}
    assert not set(tuned["train"]) & set(tuned["val"])


def test_the_table(script):
    lines = script.table(RECORDS, 0.96).splitlines()
    assert lines[2] == "| unshifted | 0.8500 | 0.8000 | 0.8475 | 0.7850 | 0.8475 | 0.7850 | 0 of 2 | 0.0150, 0.0150 |"
    assert lines[3] == "| blur 2 | 0.5500 | 0.5000 | 0.5750 | 0.4500 | 0.5500 | 0.5000 | 2 of 2 | 0.0500, 0.0000 |"
    assert lines[4] == lines[3].replace("blur 2", "all shifts")
    assert lines[6].startswith(
        "no case loses more than 0.02 with the gate: yes (largest loss 0.0150: b, unshifted, seed 0"
    )
    assert lines[7] == "lowest agreement: 0.9000 (a, blur 2, seed 0)"
    assert lines[8] == "largest loss of a class: 0.0500, with the gate 0.0150"
    assert ": NO (largest loss 0.0500: b, blur 2, seed 0" in script.table(RECORDS, 0.9)


def test_the_choice(script):
    """The largest mean among those that are safe and gain something; without one, never to adapt."""
    one, other = (10, 1e-4), (10, 1e-3)
    assert script.choose({one: RECORDS}) == (one, 0.99)  # 0.98 loses nothing either, but gains nothing more
    bad = [record("a", "blur 2", 0.6, 0.5, 0.9995)]
    assert script.choose({one: bad}) == (one, 2.0)
    assert script.choose({one: bad, other: RECORDS[:1]}) == (other, 0.99)
    half = [record("a", "blur 2", 0.6, 0.9, 0.9995), record("b", "blur 2", 0.6, 0.588, 0.9995)]
    assert script.choose({one: half}) == (one, 2.0)  # a loss of 0.012 is more than half of what is allowed


@pytest.mark.slow
def test_a_trial(tmp_path):
    if not (DATA / "Dataset004_Hippocampus").is_dir():
        pytest.skip(f"{DATA} is not here; set NNUNET_EXT_REAL_DATA to the folder that holds it")
    words = ["--raw", str(DATA), "--work", str(tmp_path), "--steps", "10", "--adapt_steps", "1"]
    printed = run_benchmark("grata.py", *words, "--seeds", "0")
    assert "no case loses more than 0.02 with the gate: " in printed
    assert "chosen: --adapt_steps " in run_benchmark("grata.py", *words, "--tune")
