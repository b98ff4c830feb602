"""``nnunet_ext suspect_labels``: its files, exit code and mistakes in one line."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from blobs import DATASET, MODEL, Blobs, write_blobs

from nnunet_ext.cli.main import main


@pytest.fixture
def blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Blobs:
    """One label of 12 is mirrored."""
    for part in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{part}", str(tmp_path / part))
    found = write_blobs(tmp_path)
    found.change(3, lambda labels: np.flip(labels, 2))
    return found


def words(blobs: Blobs, *more: str) -> list[str]:
    table = str(blobs.root / "out" / "suspects.csv")
    return ["suspect_labels", "-d", "960", "-c", "3d_fullres", "-o", table, "-np", "1", "--no_pbar", *more]


def digests(root: Path) -> dict[str, str]:
    files = (file for file in root.rglob("*") if file.is_file() and "out" not in file.parts)
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_table_page_and_record(blobs, capsys):
    before = digests(blobs.root)
    assert main(words(blobs)) == 0
    assert digests(blobs.root) == before, "nothing is changed"
    told = capsys.readouterr().out.splitlines()
    assert told[2].split("|")[1:4] == [" case_03 ", "      0.92 ", " the label is mirrored along x "]
    assert told[3].startswith("1 of 12 labels to look at; ")
    assert told[4].endswith(f"nnunet_ext correct_labels -d 960 -o NUMBER --from {blobs.root / 'out' / 'suspects.csv'}")
    with (blobs.root / "out" / "suspects.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12
    assert rows[0]["case"] == "case_03"
    assert (rows[0]["classes"], rows[0]["reasons"]) == ("liver | spleen", "mirrored: the label is mirrored along x")
    assert float(rows[0]["gain of mirroring"]) > 0.5
    assert float(rows[1]["liver: Dice"]) > 0.9
    assert all(row["reasons"] == "" and float(row["suspicion"]) < 0.5 for row in rows[1:])
    page = (blobs.root / "out" / "suspects.html").read_text(encoding="utf-8")
    assert "Suspect labels of Dataset960_Blobs" in page
    assert page.count('src="data:image/png;base64,') == 12
    record = json.loads((blobs.root / "out" / "suspects.json").read_text())
    assert (record["dataset"], record["trainer"], record["folds"]) == (DATASET, "nnUNetTrainer", [0, 1])
    assert set(record["temperatures"]) == {"0", "1"}


@pytest.mark.parametrize(("cases", "noted"), [(5, False), (7, True)])
def test_models_that_learnt_nothing_of_a_class(blobs, capsys, cases, noted):
    for number in range(cases):
        blobs.change(number, lambda labels: np.where(labels == 2, 0, labels))
    assert main(words(blobs)) == 0
    told = "Note: the predictions hardly agree with the labels (median Dice: spleen 0.00): what is listed may say more"
    assert (told in capsys.readouterr().out) == noted


def test_a_damaged_file_is_told_and_the_exit_code_is_1(blobs, capsys):
    blobs.prediction(5).write_bytes(b"nothing")
    assert main(words(blobs)) == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == "1 case could not be compared: case_05"
    assert "case_05.nii.gz: expected an intact image" in told.out


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["-f", "all"], "-f all: expected folds that did not train on what they predict"),
        (["-f", "5"], "-f 5: expected a fold below 2, as in splits_final.json. Correct it."),
        (["-tr", "OtherTrainer"], "OtherTrainer__nnUNetPlans__3d_fullres: expected a trained model, found none."),
        (["--tau", "0.4"], "--tau: expected a number above 0.5 and at most 1, got '0.4'"),
        (["-o", "suspects.html"], "-o suspects.html: expected a file that ends in .csv, found another ending."),
    ],
)
def test_mistakes(blobs, mistake, more, expected):
    assert expected in mistake([*words(blobs), *more])


def test_a_json_file_of_something_else_is_not_written_over(blobs, mistake, tmp_path):
    (tmp_path / "dataset.json").write_text('{"labels": {}}')
    said = mistake([*words(blobs), "-o", str(tmp_path / "dataset.csv")])
    assert "expected that dataset.json beside it is free" in said
    assert (tmp_path / "dataset.json").read_text() == '{"labels": {}}'


def test_a_fold_that_is_missing(blobs, mistake):
    (blobs.root / MODEL / "fold_1").rename(blobs.root / "away")
    assert "fold_1: expected a trained fold, found none. Run nnunet_ext train " in mistake(words(blobs))
