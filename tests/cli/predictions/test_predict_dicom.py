"""``nnunet_ext predict --dicom``: series in, segmentations out; mistakes get one line before anything starts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import highdicom
import numpy as np
import pytest
import torch
from dicom_series import asymmetric, write_series
from threshold_model import write_threshold_model

from nnunet_ext import sockets
from nnunet_ext.cli.main import main

STORED = asymmetric()
FOLDER = "Dataset901_Phantom/nnUNetTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in ``results`` and a series in ``s``."""
    monkeypatch.setenv(sockets.VARIABLE, "")
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    write_threshold_model(tmp_path / "results")
    write_series(tmp_path / "s", STORED, SeriesInstanceUID="1.2.3")
    return tmp_path


def words(root: Path, *more: str, model: bool = True) -> list[str]:
    by_name = ["-m", str(root / "results" / FOLDER)] if model else ["-d", "901", "-c", "3d_fullres", "-f", "0"]
    start = ["predict", "--dicom", str(root / "s"), "-o", str(root / "out"), "-device", "cpu"]
    return [*start, *by_name, "--disable_progress_bar", *more]


def labels(file: Path) -> np.ndarray:
    return highdicom.seg.segread(file).get_volume(combine_segments=True).array


@pytest.mark.parametrize("model", [True, False])
def test_a_series(root, capsys, model):
    assert main(words(root, "-npp", "0", "-nps", "0", model=model)) == 0
    told = capsys.readouterr()
    assert "| 1.2.3 |" in told.out
    assert told.out.endswith(f"1 case predicted in {root / 'out'}\n")
    assert "add --orientation, such as RAS" in told.err  # the model was trained without mirroring
    assert [file.name for file in (root / "out").iterdir()] == ["1.2.3.dcm"]
    found = labels(root / "out" / "1.2.3.dcm")
    assert np.bincount(found.ravel())[1:].tolist() == [((STORED > 100) & (STORED <= 1500)).sum(), (STORED > 1500).sum()]


def test_options_reach_the_prediction(root, capsys, monkeypatch):
    seen = {}
    from nnunet_ext.dicom.predictor import DicomPredictor

    class Seen(DicomPredictor):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            seen["model"] = (arguments[1:], options)

        def predict_series(self, series, output, **options):
            seen["series"] = ([each.uid for each in series], output, options)
            return super().predict_series(series, output, **options)

    monkeypatch.setattr("nnunet_ext.dicom.predictor.DicomPredictor", Seen)
    write_series(root / "s" / "late", STORED, SeriesInstanceUID="1.2.4")
    extra = ["--series", "1.2.4", "--orientation", "ras", "--fast", "-step_size", "0.7", "-npp", "0", "--no_check"]
    assert main(words(root, *extra, "--continue_prediction", "-num_parts", "2", "-part_id", "0", model=False)) == 0
    (folds, checkpoint), options = seen["model"]
    assert (folds, checkpoint) == (["0"], "checkpoint_final.pth")
    assert options == {
        "device": "cpu", "step_size": 0.7, "mirroring": False, "on_device": True, "trust": False
    }  # fmt: skip
    uids, output, options = seen["series"]
    assert (uids, output) == (["1.2.4"], str(root / "out"))
    assert options == {
        "orientation": "RAS", "overwrite": False, "parts": 2, "part": 0,
        "read_ahead": False, "write_behind": True, "check": False, "show_progress": False,
    }  # fmt: skip
    assert main(words(root, "--series", "1.2.4")) == 0
    assert seen["model"][0] == (None, "checkpoint_final.pth")  # with -m, all folds that are trained
    assert (seen["series"][2]["orientation"], seen["series"][2]["overwrite"]) == (None, True)
    assert (seen["series"][2]["read_ahead"], seen["series"][2]["check"]) == (True, True)
    assert main(words(root, "--series", "1.2.4", "-f", "0", "1", "2", "3", "4")) == 2  # named, but not trained


def test_a_case_that_fails(root, capsys):
    file = sorted((root / "s").iterdir())[0]
    file.write_bytes(file.read_bytes()[:-100])
    assert main(words(root)) == 1
    told = capsys.readouterr().err
    assert "1 case not predicted:" in told
    assert f"1.2.3: {file}: expected an intact DICOM image, got " in told
    assert list((root / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (
            ["-i", "x"],
            "--dicom: expected without -i, --missing_channel, --stock, --save_probabilities, -prev_stage_predictions, ",
        ),
        (["--stock"], "-prev_stage_predictions, --structures, --adapt, found --stock. Leave out one."),
        (
            ["--missing_channel", "0"],
            "-prev_stage_predictions, --structures, --adapt, found --missing_channel. Leave out one.",
        ),
        (
            ["--save_probabilities"],
            "-prev_stage_predictions, --structures, --adapt, found --save_probabilities. Leave out one.",
        ),
        (["-prev_stage_predictions", "x"], "found -prev_stage_predictions. Leave out one."),
        (["-d", "1", "-c", "2d"], "--dicom: expected -o OUTPUT, and a model: either -m MODEL or -d DATASET -c CONF"),
        (["-m", "gone.zip"], "-m gone.zip: expected the folder or the zip file of a model, found none. Correct the pa"),
        (["-num_parts", "2", "-part_id", "2"], "-part_id 2: expected less than -num_parts, 2, counted from 0. Correct"),
        (["--series", "1.2"], "found none of this UID. Did you mean '1.2.3'? Legal: 1.2.3."),
        (["--orientation", "RAL"], "one of L/R, P/A, I/S each, such as RAS, got 'RAL'. See nnunet_ext predict --help"),
        (
            ["--orientation", "RA"],
            "expected the directions of X, Y, Z, one of L/R, P/A, I/S each, such as RAS, got 'RA'",
        ),
        (["--dicom", "gone"], "gone: expected a folder with a DICOM series, found none. Correct the path."),
    ],
)
def test_wrong_words(root, mistake, extra, text):
    assert text in mistake([*words(root), *extra])
    assert not (root / "out").exists() or not list((root / "out").iterdir())


@pytest.mark.parametrize("left_out", ["-o", "-m"])
def test_missing_words(root, mistake, left_out):
    given = words(root)
    place = given.index(left_out)
    assert "--dicom: expected -o OUTPUT, and a model" in mistake(given[:place] + given[place + 2 :])


@pytest.mark.parametrize("extra", [["--series", "1.2"], ["--orientation", "RAS"], ["-m", "model.zip"]])
def test_options_of_dicom_without_it(mistake, extra):
    text = "--series, --orientation, -m: expected with --dicom FOLDER, found no --dicom. Add it, or leave them out."
    assert mistake(["predict", "-i", "a", "-o", "b", "-d", "4", "-c", "2d", *extra]) == text


def test_an_unknown_model(root, mistake):
    given = words(root, model=False)
    given[given.index("901")] = "902"
    assert "expected dataset '902', found none" in mistake(given)
    assert "-tr: unknown trainer 'BANettrainer'. Did you mean" in mistake(
        [*words(root, model=False), "-tr", "BANettrainer"]
    )


def test_no_gpu(root, mistake, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert mistake([*words(root), "-device", "cuda"]).startswith("-device cuda: expected a GPU, torch finds none.")


def test_a_file_in_place_of_the_output(root, mistake):
    (root / "out").write_text("")
    assert mistake(words(root)).startswith(f"-o {root / 'out'}: expected a folder that can be written, got ")


def test_without_the_extra(root, mistake, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "highdicom" else find(name))
    assert mistake(words(root)).startswith(
        "--dicom: expected the packages pydicom and highdicom, found no highdicom. Run"
    )
