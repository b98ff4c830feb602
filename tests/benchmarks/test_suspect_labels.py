"""The faults that the benchmark plants, and how it counts what is found."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "suspect_labels.py"
CASES = [f"case_{number:03d}" for number in range(150)]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_suspect_labels", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "path", [str(FILE.parent), *sys.path])
        spec.loader.exec_module(module)
    return module


def test_a_tenth_of_the_cases_gets_each_fault(script):
    drawn = script.draw(CASES, 0.1, 0)
    assert {kind: list(drawn.values()).count(kind) for kind in script.KINDS} == dict.fromkeys(script.KINDS, 15)
    assert drawn == script.draw(CASES, 0.1, 0)
    assert drawn != script.draw(CASES, 0.1, 1)


def test_faults(script):
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[4:6, 5:7, 3:6], labels[6:8, 5:7, 3:6] = 1, 2
    for seed in range(8):
        found = {kind: script.spoiled(labels, kind, np.random.default_rng(seed)) for kind in script.KINDS}
        assert any(np.array_equal(found["mirrored"], np.flip(labels, axis)) for axis in range(3))
        moved = np.argwhere(found["shifted"])
        assert len(moved) in (24, 12), "what leaves the image is lost"
        apart = np.argwhere(labels).min(0) - moved.min(0)
        assert np.abs(apart).sum() == 3
        assert np.array_equal(np.argwhere(found["swapped"] == 1), np.argwhere(labels == 2))
        assert sorted(np.unique(found["deleted"])) in ([0, 1], [0, 2])


def test_precision_and_reasons(script, tmp_path):
    rows = [
        ("a", 40, "mirrored: the label is mirrored along x"),
        ("b", 30, "missed: something"),  # a clean one
        ("c", 20, "dice: low"),
        ("d", 10, "swapped: labels"),
        ("e", 5, "lacking: label"),
        ("f", 1, ""),
        ("g", 1, ""),
        ("h", 1, ""),
    ]
    file = tmp_path / "suspects.csv"
    file.write_text("case,rank,reasons\n" + "".join(f"{name},{rank},{text}\n" for name, rank, text in rows))
    planted = {"a": "mirrored", "c": "mirrored", "d": "swapped", "g": "shifted", "e": "deleted"}
    assert script.detection(file, planted) == {
        "mirrored": (0.5, 0.5),  # the two first of a, b, c are a and b
        "swapped": (0.0, 1.0),
        "shifted": (0.0, 0.0),
        "deleted": (0.0, 1.0),
    }


def test_suspects_are_dropped_from_training_cases_only(script, tmp_path):
    splits = tmp_path / "preprocessed" / script.name_of("noisy") / "splits_final.json"
    splits.parent.mkdir(parents=True)
    splits.write_text(json.dumps([{"train": ["a", "b", "c"], "val": ["d"]}] * 6))
    file = tmp_path / "suspects.csv"
    file.write_text("case,suspicion\na,0.5\nb,0.49\nd,0.9\n")
    for _ in range(2):  # as when it is run again
        script.drop(tmp_path, file)
    folds = json.loads(splits.read_text())
    assert len(folds) == 7
    assert folds[6] == {"train": ["b", "c"], "val": ["d"]}


def test_steps_that_are_no_whole_number_in_each_epoch(script, tmp_path, monkeypatch, capsys):
    words = ["suspect_labels.py", "--raw", str(tmp_path), "--work", str(tmp_path / "work"), "--steps", "505"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit):
        script.main()
    assert "expected steps that are a multiple of 10, for as many epochs, got 505." in capsys.readouterr().err
