"""Predictions by each fold and with mirroring, compared."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_model import phantom, write_image, write_small_model

from nnunet_ext import sockets
from nnunet_ext.data.image_case import Case
from nnunet_ext.errors import UserError
from nnunet_ext.prediction import Predictor
from nnunet_ext.quality import disagreement
from nnunet_ext.quality.disagreement import Repetition

CLASSES = {"organ": 1, "wall": 2, "both": (1, 2)}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv(sockets.VARIABLE, "")
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    files = [tmp_path / "images" / f"{name}_0000.nii.gz" for name in "ab"]
    for number, file in enumerate(files):
        write_image(file, phantom((8, 16, 12), seed=number)[0], (2.0, 1.0, 1.0))
    return [Case(name, (file,)) for name, file in zip("ab", files, strict=True)]


def found(model, cases, tmp_path, **options):
    scratch = tmp_path / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    return Repetition(model, device="cpu", **options).reasons(cases, CLASSES, scratch, show_progress=False)


def dice(one, other, labels):
    first, second = np.isin(one, labels), np.isin(other, labels)
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_folds_and_mirroring(tmp_path, cases):
    model = write_small_model(tmp_path / "results", folds=(0, 1, 2))
    shutil.copytree(model / "fold_0", model / "fold_2", dirs_exist_ok=True)  # agrees with the first
    image = phantom((8, 16, 12), seed=1)
    by_fold = [Predictor(model, [fold], device="cpu", mirroring=False) for fold in (0, 1)]
    maps = [predictor.predict_array(image, (2.0, 1.0, 1.0)) for predictor in by_fold]
    maps.append(Predictor(model, [0], device="cpu").predict_array(image, (2.0, 1.0, 1.0)))
    reasons = found(model, cases, tmp_path)
    assert list(reasons) == ["a", "b"]
    expected = []
    for name, labels in CLASSES.items():
        for words, pair in (("folds 0 and 1", (0, 1)), ("with and without mirroring", (0, 2))):
            score = dice(maps[pair[0]], maps[pair[1]], labels)
            if score <= 0.9:
                expected.append((f"{name}: {words} overlap by a Dice of {score:.2f} only", (1 - score) / (1.3 - score)))
    assert len(expected) > 2
    assert [reason.text for reason in reasons["b"]] == [text for text, _ in expected]
    assert [reason.suspicion for reason in reasons["b"]] == pytest.approx([suspicion for _, suspicion in expected])
    assert {reason.kind for reason in reasons["b"]} == {"disagreement"}
    # only the chosen folds: they agree, and mirroring remains
    chosen = found(model, cases, tmp_path, folds=("0", "2"))
    assert {reason.text.split(":")[1][:6] for reason in chosen["b"]} == {" with "}


def test_every_reason_where_all_are_asked_for(tmp_path, cases):
    model = write_small_model(tmp_path / "results")
    shutil.copytree(model / "fold_0", model / "fold_1")  # agrees with the first
    scratch = tmp_path / "every"
    scratch.mkdir()
    repetition = Repetition(model, device="cpu")
    reasons = repetition.reasons(cases, CLASSES, scratch, at_least=0, show_progress=False)
    assert [reason.text for reason in reasons["a"]][::2] == [
        f"{name}: folds 0 and 1 overlap by a Dice of 1.00" for name in CLASSES
    ]
    assert all(len(each) == 2 * len(CLASSES) for each in reasons.values())
    strong = [reason for reason in reasons["a"] if reason.suspicion >= 0.25]
    assert strong == found(model, cases, tmp_path)["a"]


def test_the_label_maps_that_were_compared(tmp_path, cases):
    model = write_small_model(tmp_path / "results", folds=range(11))
    found(model, cases, tmp_path)
    files = Repetition(model).label_maps(tmp_path / "scratch", cases[1], ".nii.gz")
    # ten folds and one, then mirroring
    assert files == [tmp_path / "scratch" / str(number) / "b.nii.gz" for number in range(12)]
    assert all(file.is_file() for file in files)


def test_mirrored_label_maps_that_are_there_are_taken(tmp_path, cases):
    model = write_small_model(tmp_path / "results")
    expected = found(model, cases, tmp_path)
    mirrored = tmp_path / "mirrored"
    (tmp_path / "scratch" / "1").rename(mirrored)
    reasons = found(model, cases, tmp_path, mirrored=mirrored)
    assert reasons == expected
    assert any(reasons.values())
    assert [place.name for place in (tmp_path / "scratch").iterdir()] == ["0"]
    files = Repetition(model, mirrored=mirrored).label_maps(tmp_path / "scratch", cases[0], ".nii.gz")
    assert files == [tmp_path / "scratch" / "0" / "a.nii.gz", mirrored / "a.nii.gz"]


def test_the_step_of_the_window(tmp_path, cases, monkeypatch):
    model = write_small_model(tmp_path / "results")
    steps = []

    class Noted(Predictor):
        def __init__(self, *arguments, **options):
            steps.append(options["step_size"])
            super().__init__(*arguments, **options)

    monkeypatch.setattr(disagreement, "Predictor", Noted)
    found(model, cases, tmp_path, step_size=0.7)
    assert steps == [0.7, 0.7]


def test_a_zip_file(tmp_path, cases):
    model = write_small_model(tmp_path / "results", folds=(0, 1))
    file = shutil.make_archive(str(tmp_path / "model"), "zip", tmp_path / "results")
    assert found(Path(file), cases, tmp_path) == found(model, cases, tmp_path)


def test_nothing_to_compare(tmp_path, cases):
    model = write_small_model(tmp_path / "results", axes=None)
    with pytest.raises(
        UserError, match=r"expected several folds or a training with mirroring to compare predictions, f"
    ):
        found(model, cases, tmp_path)
    mirrored = write_small_model(tmp_path / "others")
    assert set(found(mirrored, cases, tmp_path)) == {"a", "b"}
    assert sorted(place.name for place in (tmp_path / "scratch").iterdir()) == ["0", "1"]
    # a training without mirroring is not predicted with it
    several = write_small_model(tmp_path / "several", folds=(0, 1), axes=None)
    assert {reason.text.split(":")[1][:6] for reason in found(several, cases, tmp_path)["a"]} == {" folds"}
    assert sorted(place.name for place in (tmp_path / "scratch").iterdir()) == ["0", "1"]


def test_a_damaged_image_is_a_reason_and_the_others_go_on(tmp_path, cases, caplog):
    model = write_small_model(tmp_path / "results", folds=(0, 1))
    cases[0].images[0].write_bytes(b"no image")
    reasons = found(model, cases, tmp_path)
    assert [reason.kind for reason in reasons["a"]] == ["file"]
    assert reasons["a"][0].text.startswith(f"{cases[0].images[0]}: expected an intact image")
    assert {reason.kind for reason in reasons["b"]} == {"disagreement"}
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("case a was not predicted again: ")


@pytest.mark.parametrize("where", ["predict_files", "_disagreements"])
def test_any_error_is_a_reason_and_the_others_go_on(tmp_path, cases, caplog, monkeypatch, where):
    model = write_small_model(tmp_path / "results", folds=(0, 1))
    owner = Predictor if where == "predict_files" else disagreement
    works, calls = getattr(owner, where), iter(range(100))

    def fails_at_first(*arguments, **options):
        if next(calls) == 0:
            raise IndexError("index 0 is out of bounds\nfor axis 0")
        return works(*arguments, **options)

    monkeypatch.setattr(owner, where, fails_at_first)
    reasons = found(model, cases, tmp_path)
    assert [(reason.kind, reason.text) for reason in reasons["a"]] == [("file", "index 0 is out of bounds")]
    assert {reason.kind for reason in reasons["b"]} == {"disagreement"}
    assert caplog.messages == ["case a was not predicted again: index 0 is out of bounds"]
