"""``nnunet_ext score_raters``: table, CSV, and mistakes in one line."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nnunet_ext.cli.main import main
from nnunet_ext.phantoms.dataset import write_nifti, write_phantom_dataset
from nnunet_ext.phantoms.raters import write_phantom_raters

SPACING = (2.5, 1.0, 1.0)


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    folder = write_phantom_dataset(tmp_path, "Dataset007_P", cases=2, shape=(8, 16, 16), spacing=SPACING)
    write_phantom_raters(folder)
    (folder / "labelsTr_raters" / "strict" / "case_001.nii.gz").unlink()
    return folder


def rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def test_views_that_are_the_raters(raw, tmp_path, capsys):
    raters = raw / "labelsTr_raters"
    shutil.copytree(raters / "generous", tmp_path / "strict_view")
    views = [f"exact={raters / 'exact'}", f"strict={tmp_path / 'strict_view'}"]
    words = ["score_raters", "-d", "7", "-i", raw / "labelsTr", "--views", *views, "-o", tmp_path / "scores.csv"]
    assert main([str(word) for word in words]) == 0
    out = capsys.readouterr().out
    assert "| dice exact " in out
    assert "soft dice" not in out  # no case has probabilities
    found = rows(tmp_path / "scores.csv")
    assert [(row["case"], row["class"]) for row in found[:2]] == [("case_000", "organ"), ("case_000", "wall")]
    assert len(found) == 6
    assert float(found[0]["view dice exact"]) == 1
    assert float(found[0]["view volume / exact"]) == 1
    assert float(found[0]["view volume / strict"]) > 1
    assert found[3]["dice strict"] == ""  # left out case_001
    assert 0 < float(found[0]["inter-rater dice"]) < 1


def test_probabilities_have_a_soft_dice(raw, tmp_path, capsys):
    shutil.copytree(raw / "labelsTr", tmp_path / "predicted")
    for file in (tmp_path / "predicted").glob("*.nii.gz"):
        labels = np.asarray(nibabel.load(file).dataobj).transpose(2, 1, 0)
        probabilities = np.stack([labels == label for label in range(4)]).astype(np.float32)
        np.savez(str(file).replace(".nii.gz", ".npz"), probabilities=probabilities)
    assert main(["score_raters", "-d", "7", "-i", str(tmp_path / "predicted")]) == 0
    assert "soft dice" in capsys.readouterr().out


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_mistakes(raw, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    labels = raw / "labelsTr"
    assert "expected predictions of cases that somebody rated" in refused(
        f"score_raters -d 7 -i {tmp_path / 'empty'}", capsys
    )
    assert "--views exakt=...: expected a rater of" in refused(
        f"score_raters -d 7 -i {labels} --views exakt={labels}", capsys
    )
    assert "expected a prediction of the same case, found no file" in refused(
        f"score_raters -d 7 -i {labels} --views exact={tmp_path / 'empty'}", capsys
    )
    assert "expected a folder of predictions, found none" in refused(
        f"score_raters -d 7 -i {labels} --views exact={tmp_path / 'none'}", capsys
    )
    write_nifti(raw / "labelsTr_raters" / "exact" / "case_000.nii.gz", np.zeros((8, 16, 15), np.uint8), SPACING)
    assert "expected the shape (8, 16, 16)" in refused(f"score_raters -d 7 -i {labels}", capsys)
    file = raw / "labelsTr_raters" / "exact" / "case_000.nii.gz"
    stored = nibabel.load(raw / "labelsTr" / "case_000.nii.gz")
    moved = stored.affine.copy()
    moved[:3, 3] += 5
    nibabel.save(nibabel.Nifti1Image(np.asarray(stored.dataobj), moved), file)
    assert "expected the origin and direction of case_000.nii.gz, found it up to " in refused(
        f"score_raters -d 7 -i {labels}", capsys
    )


def test_a_case_that_was_not_predicted(raw, tmp_path, capsys):
    shutil.copytree(raw / "labelsTr", tmp_path / "predicted")
    (tmp_path / "predicted" / "case_001.nii.gz").unlink()
    assert main(["score_raters", "-d", "7", "-i", str(tmp_path / "predicted")]) == 0
    assert "no prediction of case_001, which is rated" in capsys.readouterr().err


def test_what_a_rater_ignores_does_not_count(raw, tmp_path, capsys):
    """One that is right, but ignores half of the case, differs from none."""
    described = json.loads((raw / "dataset.json").read_text())
    ignore = max(map(int, described["labels"].values())) + 1
    (raw / "dataset.json").write_text(json.dumps(described | {"labels": described["labels"] | {"ignore": ignore}}))
    predicted = tmp_path / "predicted"
    shutil.copytree(raw / "labelsTr", predicted)
    shutil.rmtree(raw / "labelsTr_raters" / "generous")
    shutil.rmtree(raw / "labelsTr_raters" / "strict")
    for rater, start in (("exact", 8), ("other", 4)):
        folder = raw / "labelsTr_raters" / rater
        folder.mkdir(exist_ok=True)
        for file in predicted.iterdir():
            labels = np.asarray(nibabel.load(file).dataobj).transpose(2, 1, 0).copy()
            labels[start:] = ignore
            write_nifti(folder / file.name, labels, SPACING)
    for file in list(predicted.iterdir()):
        labels = np.asarray(nibabel.load(file).dataobj).transpose(2, 1, 0)
        probabilities = np.stack([labels == label for label in range(4)]).astype(np.float32)
        np.savez(str(file).replace(".nii.gz", ".npz"), probabilities=probabilities)
    assert main(["score_raters", "-d", "7", "-i", str(predicted), "-o", str(tmp_path / "scores.csv")]) == 0
    for row in rows(tmp_path / "scores.csv"):
        for name in ("dice exact", "dice other", "majority dice", "inter-rater dice", "volume / other", "soft dice"):
            assert row[name] in ("1", ""), (name, row)
        assert float(row["ged"]) == 0
    assert any(row["dice other"] for row in rows(tmp_path / "scores.csv"))


def test_damaged_probabilities(raw, tmp_path, capsys):
    shutil.copytree(raw / "labelsTr", tmp_path / "predicted")
    file = tmp_path / "predicted" / "case_000.npz"
    file.write_bytes(b"nothing")
    words = f"score_raters -d 7 -i {tmp_path / 'predicted'}"
    assert "case_000.npz: expected probabilities as nnU-Net writes them, got a damaged file" in refused(words, capsys)
    np.savez(file, probabilities=np.eye(4)[np.zeros((8, 16, 16), int)].transpose(3, 0, 1, 2))
    assert "case_000.npz: expected the probabilities of the prediction beside it, found" in refused(words, capsys)
    np.savez(file, other=np.zeros(3))
    assert "case_000.npz: expected probabilities as nnU-Net writes them, got a damaged file" in refused(words, capsys)
