"""``nnunet_ext evaluate``: what it writes and prints, and the mistakes that one can make."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from written_map import write_map

from nnunet_ext.cli.main import main

pytestmark = pytest.mark.smoke


def row(*values: int) -> np.ndarray:
    found = np.zeros((3, 3, 8), np.uint8)
    found[1, 1, : len(values)] = values
    return found


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset with two labelled cases, predictions of both beside it."""
    for case, predicted, expected in (("a", (1, 1, 0), (1, 1, 0)), ("b", (0, 1, 1, 2), (1, 1, 0, 2))):
        write_map(tmp_path / "predicted" / f"{case}.nii.gz", row(*predicted))
        write_map(tmp_path / "labelsTr" / f"{case}.nii.gz", row(*expected))
    labels = {"background": 0, "liver": 1, "a/b": 2}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz", "numTraining": 2}))
    return tmp_path


def test_any_dataset(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "custom", str(dataset / "predicted"), str(dataset / "labelsTr"), "-np", "1"]
    assert main([*words, "--metrics", "dice,nsd@1mm", "-o", str(dataset / "out")]) == 0
    with (dataset / "out" / "evaluation.csv").open() as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["case", "liver dice", "a/b dice", "liver nsd@1mm", "a/b nsd@1mm"],
        ["a", "1.0", "", "1.0", ""],
        ["b", "0.5", "1.0", "1.0", "1.0"],
        ["average", "0.75", "1.0", "1.0", "1.0"],
    ]
    found = json.loads((dataset / "out" / "evaluation.json").read_text())
    assert found["average"]["liver dice"] == 0.75
    assert found["predictions"] == str(dataset / "predicted")
    assert found["written_by"].startswith("nnunet_ext ")
    figures = sorted((dataset / "out" / "figures").iterdir())
    assert [file.name for file in figures] == ["01_liver.png", "02_a_b.png"]
    out, progress = capsys.readouterr()
    assert "| liver           | 0.7500 |  1.0000 |" in out
    assert "2 cases, each compared with 1 reference." in out
    assert f"{dataset / 'out' / 'evaluation.csv'} and" in out
    assert "cases" in progress


def test_two_empty_masks_and_another_dataset_json(dataset: Path) -> None:
    (dataset / "dataset.json").rename(dataset / "other.json")
    words = ["evaluate", "custom", str(dataset / "predicted"), str(dataset / "labelsTr"), "-np", "1", "--no_figures"]
    assert main([*words, "-djfile", str(dataset / "other.json"), "--empty", "equal"]) == 0
    folder = dataset / "predicted" / "evaluation"
    assert (folder / "evaluation.csv").read_text().splitlines()[1] == "a,1.0,1.0"
    assert not (folder / "figures").exists()


def test_kits21(tmp_path: Path) -> None:
    case = tmp_path / "data" / "case_00000"
    write_map(case / "segmentations" / "kidney_instance-1_annotation-1.nii.gz", row(1, 1, 1).astype(float))
    write_map(case / "aggregated_MAJ_seg.nii.gz", row(1, 1))
    write_map(tmp_path / "predicted" / "case_00000.nii.gz", row(1, 1, 1))
    words = ["evaluate", "kits21", str(tmp_path / "predicted"), str(tmp_path / "data"), "-np", "1", "--no_figures"]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "evaluation_samples.csv").read_text()
    assert text.splitlines()[1:] == ["case_00000,1.0,1.0,1.0,1.0,1.0,1.0", "average,1.0,1.0,1.0,1.0,1.0,1.0"]
    assert main([*words, "-o", str(tmp_path / "out"), "--majority"]) == 0
    assert (tmp_path / "out" / "evaluation.csv").read_text().splitlines()[1].startswith("case_00000,0.8,1.0,1.0,")


def test_missing_and_extra_cases(dataset: Path, mistake: Callable[[str], str]) -> None:
    (dataset / "predicted" / "a.nii.gz").rename(dataset / "predicted" / "c.nii.gz")
    words = f"evaluate custom {dataset / 'predicted'} {dataset / 'labelsTr'} -np 1 --no_figures"
    assert "expected a case of" in mistake(words)
    assert "expected a prediction of 'a', found none" in mistake(f"{words} --extra skip")
    assert main([*words.split(), "--extra", "skip", "--missing", "worst"]) == 0
    text = (dataset / "predicted" / "evaluation" / "evaluation.csv").read_text()
    assert text.splitlines()[1:] == ["a,0.0,0.0", "b,0.5,1.0", "average,0.25,0.5"]


def test_options_of_other_challenges(dataset: Path, mistake: Callable[[str], str]) -> None:
    folders = f"{dataset / 'predicted'} {dataset / 'labelsTr'}"
    expected = "--metrics: expected it with custom, found it with kipa22. Leave it out."
    assert mistake(f"evaluate kipa22 {folders} --metrics dice") == expected
    assert mistake(f"evaluate kipa22 {folders} --empty equal").startswith("--empty: expected it with custom")
    assert mistake(f"evaluate kipa22 {folders} -djfile {dataset / 'dataset.json'}").startswith("-djfile: expected")
    assert mistake(f"evaluate custom {folders} --majority").startswith("--majority: expected it with kits21")
    assert "expected metrics from dice" in mistake(f"evaluate custom {folders} --metrics dise")


def test_no_dataset_json(dataset: Path, mistake: Callable[[str], str]) -> None:
    (dataset / "dataset.json").unlink()
    line = mistake(f"evaluate custom {dataset / 'predicted'} {dataset / 'labelsTr'}")
    assert line.endswith("expected dataset.json in it or in the folder above, found none. Give it with -djfile.")


def test_without_the_package(dataset: Path, mistake: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnunet_ext.cli.common.packages.find_spec", lambda name: None)
    words = f"evaluate custom {dataset / 'predicted'} {dataset / 'labelsTr'} -np 1 --no_figures --metrics"
    assert "pip install 'nnunet_ext[challenges]'" in mistake(f"{words} dice,nsd@1mm")
    assert main([*words.split(), "dice,hd95"]) == 0
