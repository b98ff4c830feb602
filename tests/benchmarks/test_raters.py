"""The benchmark of several raters: its datasets and its scores by hand."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nnunet_ext.phantoms.dataset import write_nifti

FILE = Path(__file__).parents[2] / "benchmarks" / "raters.py"
RATERS = ("exact", "generous", "strict")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", os.environ.get(f"nnUNet_{name}", ""))  # restored after the test
    spec = importlib.util.spec_from_file_location("benchmark_raters", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def source(tmp_path: Path, script: ModuleType) -> Path:
    ball = (((np.indices((12, 12, 12)) - 5.5) ** 2).sum(0) < 12).astype(np.uint8)
    for number in range(48):
        for name in (f"imagesTr/case_{number:02d}_0000", f"labelsTr/case_{number:02d}"):
            file = tmp_path / "data" / script.SOURCE / f"{name}.nii.gz"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_nifti(file, ball * (1 + (np.arange(12) > 5)).astype(np.uint8), (1.0, 1.0, 1.0))
    (tmp_path / "data" / script.SOURCE / "dataset.json").write_text(json.dumps({"numTraining": 48}))
    return tmp_path


def prepared(script: ModuleType, source: Path, monkeypatch: pytest.MonkeyPatch, *, few: bool) -> Path:
    place = source / "work" / "raw" / ("Dataset941_FewRaters" if few else "Dataset940_Raters")

    def run(line: str) -> None:
        """Stand for the commands."""
        (place / "labelsTr").mkdir(exist_ok=True)
        (source / "work" / "preprocessed" / place.name).mkdir(exist_ok=True)

    monkeypatch.setattr(script, "run", run)
    script.prepare(source / "work", source / "data", few=few, cases=None)
    return place


def test_the_held_out_cases_have_all_raters_and_are_not_trained_on(script, source, monkeypatch):
    place = prepared(script, source, monkeypatch, few=False)
    held_out = source / "work" / "held_out_Dataset940_Raters"
    assert len(list((held_out / "imagesTr").iterdir())) == 12
    assert all(len(list((held_out / "raters" / rater).iterdir())) == 12 for rater in RATERS)
    trained = {file.name for file in (place / "imagesTr").iterdir()}
    assert len(trained) == 36
    assert not trained & {file.name for file in (held_out / "imagesTr").iterdir()}
    maps = len(list((place / "labelsTr_raters").glob("*/*")))
    assert 3 * 36 - 20 < maps < 3 * 36 - 4  # 0.3 of the cases lack one


def test_few_cases_of_one_rater(script, source, monkeypatch):
    place = prepared(script, source, monkeypatch, few=True) / "labelsTr_raters"
    generous, strict = ({file.name for file in (place / rater).iterdir()} for rater in ("generous", "strict"))
    assert (len(generous), len(strict)) == (20, 16)
    assert not generous & strict
    assert not (place / "exact").exists()


def test_scores(script, source, monkeypatch):
    prepared(script, source, monkeypatch, few=False)
    truths, held_out = source / "data" / script.SOURCE / "labelsTr", source / "work" / "held_out_Dataset940_Raters"
    views = {rater: held_out / "raters" / rater for rater in RATERS}
    found = script.scores(source / "work", "Dataset940_Raters", source / "data", {"": truths} | views)
    assert found["truth"] == 1
    for rater in RATERS:
        assert found[f"dice {rater}"] == 1
        assert found[f"volume {rater}"] == found[f"drawn {rater}"]
    assert found["drawn strict"] < found["drawn exact"] < found["drawn generous"]
    alone = script.scores(source / "work", "Dataset940_Raters", source / "data", {"": truths})
    assert alone["volume strict"] == 1
    assert alone["dice strict"] < 1
