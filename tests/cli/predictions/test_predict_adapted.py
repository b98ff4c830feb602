"""``nnunet_ext predict --adapt grata``: its report, and mistakes in one line."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from small_model import phantom, write_image, write_small_model

from nnunet_ext import sockets
from nnunet_ext.adaptation import adapted_stages
from nnunet_ext.cli.main import main


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stock model with random weights, and two images to predict."""
    monkeypatch.setenv(sockets.VARIABLE, "")
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    for part in ("raw", "preprocessed", "results"):
        (tmp_path / part).mkdir()
        monkeypatch.setenv(f"nnUNet_{part}", str(tmp_path / part))
    write_small_model(tmp_path / "results")
    for number, name in enumerate("ab"):
        write_image(tmp_path / "images" / f"{name}_0000.nii.gz", phantom((8, 16, 12), seed=number)[0], (2, 1, 1))
    return tmp_path


def words(root: Path, *more: str, output: str = "out") -> list[str]:
    folders = ["-i", str(root / "images"), "-o", str(root / output)]
    model = ["-d", "901", "-c", "3d_fullres", "-f", "0", "-device", "cpu", "--disable_progress_bar"]
    return ["predict", *folders, *model, *more]


def report(root: Path) -> dict[str, list[str]]:
    with (root / "out" / "adaptation.csv").open(newline="", encoding="utf-8") as stream:
        return {row[0]: row[1:] for row in csv.reader(stream)}


def labels(file: Path) -> np.ndarray:
    return np.asarray(nibabel.load(file).dataobj)


def test_the_report_says_what_was_used(small, capsys, monkeypatch):
    assert main(words(small, "--adapt", "grata", "--adapt_steps", "1")) == 0
    told = capsys.readouterr()
    assert "case a: used adapted, agreement " in told.err
    assert "\nadaptation: used for 2 of 2 cases, " in told.out
    assert f"times the time of a plain prediction; {small / 'out' / 'adaptation.csv'} written" in told.out
    assert report(small)["case"] == ["used", "agreement", "time factor"]
    assert {case: row[0] for case, row in report(small).items() if case != "case"} == {"a": "adapted", "b": "adapted"}

    monkeypatch.setattr(adapted_stages, "agreement", lambda *_: 0.5)
    (small / "out" / "b.nii.gz").unlink()
    assert main(words(small, "--adapt", "grata", "--adapt_steps", "1", "--continue_prediction")) == 0
    told = capsys.readouterr()
    assert "case b: used plain, agreement below 0.99, agreement 0.5000, time factor " in told.err
    assert "adaptation: used for 0 of 1 case, " in told.out
    used = {case: row[0] for case, row in report(small).items()}
    assert used == {"case": "used", "a": "adapted", "b": "plain, agreement below 0.99"}

    assert main(words(small, output="plain")) == 0
    assert not (small / "plain" / "adaptation.csv").exists()
    np.testing.assert_array_equal(labels(small / "out" / "b.nii.gz"), labels(small / "plain" / "b.nii.gz"))

    (small / "out" / "b.nii.gz").unlink()
    assert main(words(small, "--continue_prediction")) == 0  # b is plain now, a is still what was adapted
    assert set(report(small)) == {"case", "a"}
    assert main(words(small)) == 0
    assert not (small / "out" / "adaptation.csv").exists()


def test_commands_that_share_cases_write_a_report_each(small):
    assert main(words(small, "--adapt", "grata", "--adapt_steps", "1", "-num_parts", "2", "-part_id", "1")) == 0
    assert (small / "out" / "adaptation_1.csv").is_file()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--adapt", "tent"], "--adapt: invalid choice: 'tent'"),
        (["--adapt", "grata", "--adapt_steps", "0"], "--adapt_steps: expected a number from 1 up, got 0"),
        (["--adapt_steps", "3"], "--adapt_steps: expected --adapt grata beside it, found none."),
        (
            ["--adapt", "grata", "--stock"],
            "--adapt: expected what nnunet_ext predicts, found what is left to nnU-Net: --stock.",
        ),
        (
            ["--adapt", "grata", "--save_probabilities"],
            "--adapt: expected what nnunet_ext predicts, found what is left to",
        ),
    ],
)
def test_mistakes(small, capsys, more, expected):
    assert main(words(small, *more)) == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert not list((small / "out").glob("*.nii.gz"))


def test_not_with_dicom(small, mistake):
    assert "--adapt" in mistake(["predict", "--dicom", str(small), "-o", str(small / "out"), "--adapt", "grata"])
