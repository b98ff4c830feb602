"""``nnunet_ext correct_labels``: from the table of suspects to preprocessed data."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from blobs import DATASET, MODEL, Blobs, write_blobs

from nnunet_ext.cli.main import main

NEW = "Dataset961_Blobs"


@pytest.fixture(scope="session")
def _suspects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = write_blobs(tmp_path_factory.mktemp("suspects"))
    found.change(3, lambda labels: np.roll(labels, 3, 0))
    found.change(4, lambda labels: np.where((labels == 2) & (np.arange(20)[:, None, None] < 8), 0, labels))
    with pytest.MonkeyPatch.context() as monkeypatch:
        for part in ("raw", "preprocessed", "results"):
            monkeypatch.setenv(f"nnUNet_{part}", str(found.root / part))
        assert main(search_words(found)) == 0
    return found.root


@pytest.fixture
def blobs(_suspects: Path, nnunet: Path) -> Blobs:
    """Suspects of a dataset in which one label is shifted and one lacks a component; beside another dataset."""
    return Blobs(Path(shutil.copytree(_suspects, nnunet, dirs_exist_ok=True)))


def search_words(blobs: Blobs) -> list[str]:
    return ["suspect_labels", "-d", "960", "-c", "3d_fullres", "-o", str(table(blobs)), "-np", "1", "--no_pbar"]


def table(blobs: Blobs) -> Path:
    return blobs.root / "out" / "suspects.csv"


def words(blobs: Blobs, *more: str, by: str = "ignore") -> list[str]:
    given = ["-d", "960", "-o", "961", "--from", str(table(blobs)), "--by", by, "-np", "1", "--no_pbar", *more]
    return ["correct_labels", *given]


def changed(blobs: Blobs, name: str = NEW) -> dict[str, set[tuple[str, str]]]:
    with (blobs.root / "raw" / name / "changed_voxels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {
        case: {(row["label before"], row["label after"]) for row in rows if row["case"] == case}
        for case in dict.fromkeys(row["case"] for row in rows)
    }


def test_ignore_and_what_follows(blobs, capsys):
    capsys.readouterr()
    assert main(words(blobs)) == 0
    told = capsys.readouterr().out.splitlines()
    assert " voxels ignored in 2 of 2 suspect cases" in told[0]
    assert told[2] == "Next: nnunet_ext preprocess -d 961 -p nnUNetPlans -c 3d_fullres"
    assert told[3] == "      nnunet_ext train 961 3d_fullres 0 -tr nnUNetTrainer -p nnUNetPlans"
    found = changed(blobs)
    assert sorted(found) == ["case_03", "case_04"]
    assert found["case_03"] >= {("0", "3"), ("1", "3"), ("2", "3")}
    assert ("0", "3") in found["case_04"]
    assert not any("1" in pair for pair in found["case_04"]), "liver is not suspect there"


def test_the_next_command_preprocesses_with_the_same_plans(blobs):
    assert main(["plan_and_preprocess", "-d", "960", "-pl", "LitePlanner", "--no_pp", "--no_pbar"]) == 0
    planned = blobs.root / "preprocessed" / DATASET
    plans = json.loads((planned / "LitePlans.json").read_text())
    for file in (planned / "nnUNetPlans.json", blobs.root / MODEL / "plans.json"):
        file.write_text(json.dumps(plans | {"plans_name": "nnUNetPlans"}))
    assert main(words(blobs)) == 0
    assert main(["preprocess", "-d", "961", "-p", "nnUNetPlans", "-c", "3d_fullres", "-np", "1", "--no_pbar"]) == 0
    new = blobs.root / "preprocessed" / NEW
    identifier = plans["configurations"]["3d_fullres"]["data_identifier"]
    assert len(list((new / identifier).glob("*_seg.b2nd"))) == 12
    assert len(list((new / "gt_segmentations").iterdir())) == 12
    theirs, ours = (json.loads((each / "nnUNetPlans.json").read_text()) for each in (planned, new))
    assert ours == theirs | {"dataset_name": NEW}


def test_replace_some_classes_of_some_cases(blobs):
    assert main(words(blobs, "--by", "replace", "--classes", "liver", "--cases", "case_03")) == 0
    assert changed(blobs) == {"case_03": {("0", "1"), ("1", "0")}}


def test_drop(blobs, capsys):
    capsys.readouterr()
    assert main([word for word in words(blobs, by="") if word not in ("--by", "")]) == 0  # the default
    told = capsys.readouterr().out.splitlines()
    assert told[0].endswith(f"{NEW}: 2 suspect cases without a label, among the unlabelled images")
    assert told[1] == "Next: nnunet_ext preprocess -d 961 -p nnUNetPlans -c 3d_fullres"
    new = blobs.root / "raw" / NEW
    assert len(list((new / "labelsTr").iterdir())) == 10
    assert sorted(file.name[:7] for file in (new / "imagesUn").iterdir()) == ["case_03", "case_04"]


def test_a_damaged_label_can_only_be_dropped(blobs, capsys):
    """Its reason is about no class."""
    blobs.label(5).write_bytes(b"nothing")
    assert main(search_words(blobs)) == 1  # it could not be compared
    assert main(words(blobs, "--cases", "case_05", by="drop")) == 0
    new = blobs.root / "raw" / NEW
    assert not (new / "labelsTr" / "case_05.nii.gz").exists()
    assert (new / "imagesUn" / "case_05_0000.nii.gz").is_file()
    capsys.readouterr()
    assert main([*words(blobs, by="replace"), "-n", "Replaced", "-o", "962"]) == 0
    assert "in 2 of 2 suspect cases" in capsys.readouterr().out


def test_an_empty_table_gives_a_dataset_of_links(blobs, capsys):
    rows = table(blobs).read_text().splitlines()
    table(blobs).write_text(rows[0] + "\n")
    capsys.readouterr()
    assert main(words(blobs)) == 0
    assert "0 voxels ignored in 0 of 0 suspect cases" in capsys.readouterr().out
    new = blobs.root / "raw" / NEW
    assert all(path.is_symlink() for path in new.rglob("*") if path.is_file())
    assert sorted(path.relative_to(new) for path in new.rglob("*")) == sorted(
        path.relative_to(blobs.raw) for path in blobs.raw.rglob("*")
    )


def test_only_listed_cases(blobs):
    rows = [row for row in table(blobs).read_text().splitlines() if not row.startswith("case_03")]
    table(blobs).write_text("\n".join(rows) + "\n")
    assert main(words(blobs)) == 0
    assert sorted(changed(blobs)) == ["case_04"]


def test_a_label_that_was_changed_since(blobs, mistake):
    blobs.change(3, lambda labels: np.roll(labels, -3, 0))
    text = mistake(words(blobs))
    assert "case_03.nii.gz: expected the file that nnunet_ext suspect_labels compared, found it changed since." in text
    assert not (blobs.root / "raw" / NEW).exists()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["-d", "901"], ": expected suspects of Dataset901_Phantom, found those of Dataset960_Blobs."),
        (["--cases", "case_99"], "--cases case_99: not among the suspects. "),
        (["--cases", "case_05"], "--cases case_05: not among the suspects. "),
        (["--classes", "kidney"], "--classes kidney: not among the suspects. Legal: liver, spleen."),
        (["-o", "901"], "Dataset901_Blobs: expected a free number, Dataset901_Phantom has it too."),
        (["-o", "960"], "-o 960: expected the number of a new dataset, got that of the other one."),
        (["--by", "drop", "--classes", "liver"], "--classes: not with --by drop, which drops whole cases."),
        (["--tau", "0"], "--tau: expected a number above 0 and at most 1, got '0'"),
    ],
)
def test_mistakes(blobs, mistake, more, expected):
    assert expected in mistake([*words(blobs), *more])


def test_a_table_without_its_record(blobs, mistake):
    os.remove(table(blobs).with_suffix(".json"))
    assert "suspects.json: expected the file that nnunet_ext suspect_labels writes beside suspects.csv" in mistake(
        words(blobs)
    )


@pytest.mark.parametrize(
    ("head", "row", "expected"),
    [
        ("case,name", "case_03,x", ": expected the columns case, suspicion and classes, as nnunet_ext suspect_labels"),
        ("case,suspicion,classes", "case_77,1,liver", ", line 2: unknown case 'case_77'."),
        ("case,suspicion,classes", "case_03,1,kidney", ", line 2: unknown class 'kidney'."),
        ("case,suspicion,classes", "case_03,high,liver", ", line 2: expected a suspicion from 0 to 1, got 'high'."),
    ],
)
def test_another_table(blobs, mistake, head, row, expected):
    table(blobs).write_text(f"{head}\n{row}\n")
    assert expected in mistake(words(blobs))


def test_suspects_without_probabilities(blobs, capsys):
    for file in blobs.root.rglob("*.npz"):
        file.unlink()
    assert main(search_words(blobs)) == 0
    capsys.readouterr()
    assert main(words(blobs, "--cases", "case_03")) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "case_03.nii.gz: expected probabilities (.npz) beside it, without which no voxel is confident" in line
    assert not (blobs.root / "raw" / NEW).exists()
