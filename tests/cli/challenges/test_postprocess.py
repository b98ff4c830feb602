"""``nnunet_ext postprocess``: learn, apply, and the mistakes that one can make."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from written_map import write_map

from nnunet_ext.cli.main import main

pytestmark = pytest.mark.smoke
DESCRIPTION = {"labels": {"background": 0, "a": 1, "b": 2}, "file_ending": ".nii.gz", "numTraining": 4}


def write(folder: Path, name: str, row: list[int]) -> None:
    values = np.zeros((3, 3, 12), np.uint8)
    values[1, 1, : len(row)] = row
    write_map(folder / f"{name}.nii.gz", values)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with two folds; beside it labels. Each validation case has a voxel too much."""
    for number, name in enumerate("wxyz"):
        write(tmp_path / "model" / f"fold_{number % 2}" / "validation", name, [1] * 6 + [0, 0, 1])
        write(tmp_path / "labelsTr", name, [1] * 6)
    (tmp_path / "model" / "dataset.json").write_text(json.dumps(DESCRIPTION))
    return tmp_path / "model"


def test_learn_and_apply(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules, predicted, out = (model.parent / name for name in ("new/rules.json", "predicted", "out"))
    folders = [str(model), str(model.parent / "labelsTr")]
    assert main(["postprocess", "learn", "custom", *folders, "-o", str(rules), "-np", "1"]) == 0
    printed = capsys.readouterr().out
    assert "| a: drop components below 2.58 mm3 |   yes |       +0.0769 | +0.0769 | +0.0769 |" in printed
    assert f"{rules}: 1 rule. Apply: nnunet_ext postprocess apply {rules} PRED -o OUT" in printed
    found = json.loads(rules.read_text())
    assert found["rules"] == [{"structure": "a", "kind": "minimum_volume", "minimum_volume": 2.58}]
    assert found["dataset_labels"] == DESCRIPTION["labels"]
    assert found["written_by"].startswith("nnunet_ext ")
    assert (rules.with_suffix(".csv")).read_text().startswith("structure,rule,taken,")
    assert (rules.with_suffix(".png")).is_file()
    write(predicted, "new", [1, 1, 0, 1])
    assert main(["postprocess", "apply", str(rules), str(predicted), "-o", str(out), "-np", "1"]) == 0
    assert f"{out}: 1 case written, 1 of them changed" in capsys.readouterr().out


def test_mistakes(model: Path, mistake: Callable[[str], str]) -> None:
    labels = model.parent / "labelsTr"
    learn = f"postprocess learn custom {model} {labels} -np 1"
    assert "expected a file that ends in .json" in mistake(f"{learn} -o {model.parent / 'rules.txt'}")
    assert "expected metrics from dice" in mistake(f"{learn} -o {model.parent / 'r.json'} --metrics dise")
    expected = "--metrics: expected it with custom, found it with kipa22. Leave it out."
    assert mistake(f"postprocess learn kipa22 {model} {labels} -o {model.parent / 'r.json'} --metrics dice") == expected
    assert "expected rules of nnunet_ext postprocess learn" in mistake(
        f"postprocess apply {model / 'dataset.json'} {labels} -o {model.parent / 'out'}"
    )
    assert "--folds" in mistake(f"{learn} -o {model.parent / 'r.json'} --folds 1")
