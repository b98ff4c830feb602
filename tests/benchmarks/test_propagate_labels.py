"""What is hidden and scored, numbers of datasets, and equal computing time; nothing is trained."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "propagate_labels.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_propagate_labels", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks there
    spec.loader.exec_module(module)
    return module


def test_hidden_slices(script):
    labels = np.zeros((14, 2, 2), int)
    labels[3:12, 0, 0] = 1
    sparse, hidden = script.hide(labels, 4, 9)
    assert np.flatnonzero(hidden).tolist() == [4, 5, 6, 8, 9, 10]
    assert np.flatnonzero((sparse != 9).all((1, 2))).tolist() == [3, 7, 11]


def test_dice(script):
    found, truth = np.array([1, 1, 0, 2]), np.array([1, 0, 0, 0])
    assert script.dice(found, truth, [1, 2, 3]) == pytest.approx((2 / 3 + 0) / 2)
    assert np.isnan(script.dice(found * 0, truth * 0, [1]))


def test_quality(script, tmp_path):
    """Two slanting boxes; interpolation of moved shapes is right, copies are not."""
    place = tmp_path / "Dataset020_LeftAtrium"
    (place / "labelsTr").mkdir(parents=True)
    (place / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "box": 1}}))
    for case in range(2):
        labels = np.zeros((9, 12, 40), np.uint8)
        for number in range(9):
            labels[number, 4:8, 1 + case + 4 * number : 5 + case + 4 * number] = 1
        nibabel.save(nibabel.Nifti1Image(labels.T, np.eye(4)), place / "labelsTr" / f"case_{case}.nii.gz")
    (row,) = script.quality(tmp_path, script.SOURCES["atrium"], [2])
    assert row[:2] == ["LeftAtrium, one slice in 2", "2"]
    assert [float(cell) for cell in row[2:5]] == [0, 0, 1]


def test_arms_have_datasets_of_their_own_and_share_the_right_ones(script):
    source = script.SOURCES["atrium"]
    numbers = {(arm, every): script.dataset_of(source, arm, every) for arm in script.ARMS for every in (4, 8)}
    assert numbers["2d", 4] == numbers["ignore", 4]
    assert numbers["confident, second round", 8] == numbers["confident", 8]
    assert len(set(numbers.values())) == 2 * (len(script.ARMS) - 2)
    assert script.dataset_of(source, "dense", 4) == script.dataset_of(source, "dense", 8)
    assert {*numbers.values()}.isdisjoint({source.number, source.number + 1})
    assert max(numbers.values()) < script.SOURCES["hippocampus"].number


def test_equal_computing_time(script):
    ratios = {"2d": 0.5, "predictions": 100}
    found = {arm: script.iterations(arm, 1000, ratios) for arm in ("ignore", "2d", "confident, second round")}
    assert found == {"ignore": 100, "2d": 200, "confident, second round": 90}
    assert script.iterations("confident, second round", 50, ratios) == 1


@pytest.mark.parametrize("words", [["--steps", "5", "--work", "w"], ["--every", "3", "--work", "w"], []])
def test_mistakes(script, tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["propagate_labels.py", "--raw", str(tmp_path), *words])
    with pytest.raises(SystemExit):
        script.main()
    assert "expected --work FOLDER" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
