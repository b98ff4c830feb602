"""Several cases: what overlaps, and what one that fails leaves."""

from __future__ import annotations

import logging
import os
import threading
import time

import nibabel
import numpy as np
import pytest
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from small_model import phantom, write_image

from nnunet_ext.data.raw_dataset import list_images
from nnunet_ext.prediction.cases import STAGES, predict_cases
from nnunet_ext.prediction.sliding_window import SlidingWindow
from nnunet_ext.prediction.stages import Stages
from nnunet_ext.prediction.trained_model import TrainedModel
from nnunet_ext.processes.process_memory import Memory


@pytest.fixture
def stages(write_model) -> Stages:
    return Stages(SlidingWindow(TrainedModel.load(write_model()), torch.device("cpu"), mirroring=False), False)


@pytest.fixture
def images(tmp_path):
    for number, name in enumerate(("a", "b", "c", "d")):
        write_image(tmp_path / "images" / f"{name}_0000.nii.gz", phantom((8, 16, 12), seed=number)[0], (2, 1.1, 1.1))
    return tmp_path / "images"


def predict(stages, images, output, **options):
    output.mkdir(exist_ok=True)
    cases = list_images(images, ".nii.gz", 1)
    options = {"show_progress": False} | options
    return predict_cases(stages, cases, lambda case: output / f"{case.name}.nii.gz", **options)


def test_memory_is_that_of_this_process(stages, images, tmp_path, monkeypatch):
    """Not what getrusage says, which may be that of the process that started this one."""
    monkeypatch.setattr("nnunet_ext.prediction.cases.process_memory", lambda: Memory(5, 7))
    assert {result.memory for result in predict(stages, images, tmp_path / "out")} == {7}
    monkeypatch.setattr("nnunet_ext.prediction.cases.process_memory", lambda: None)
    assert {result.memory for result in predict(stages, images, tmp_path / "out")} == {None}


def labels(folder):
    return {file.name: np.asarray(nibabel.load(file).dataobj) for file in sorted(folder.glob("*.nii.gz"))}


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("behind", [True, False])
def test_all_cases(stages, images, tmp_path, ahead, behind):
    results = predict(stages, images, tmp_path / "out", read_ahead=ahead, write_behind=behind)
    assert [result.name for result in results] == list("abcd")
    for result in results:
        expected = stages.label(stages.prepare([images / f"{result.name}_0000.nii.gz"])).labels
        written = np.asarray(nibabel.load(result.file).dataobj).transpose(2, 1, 0)
        np.testing.assert_array_equal(written, expected)
        assert tuple(result.seconds) == STAGES
        assert all(seconds > 0 for seconds in result.seconds.values())
        assert (result.problem, result.gpu_memory) == (None, None)
        assert 2**27 < result.memory < 2**37
    maps = list(labels(tmp_path / "out").values())
    assert any(len(np.unique(each)) > 1 for each in maps)


def order_of(stages, images, output, monkeypatch, **options):
    """Predict with all stages noted: begin and end, and in which thread."""
    noted, main = [], threading.get_ident()
    lock = threading.Lock()

    def note(*entry):
        with lock:
            noted.append(entry)

    prepare, label, write = stages.prepare, stages.label, stages.write

    def traced(name, function, case):
        def call(*arguments):
            note(name, case(*arguments), threading.get_ident() == main)
            return function(*arguments)

        return call

    shapes: list[str] = []
    monkeypatch.setattr(stages, "prepare", traced("read", prepare, lambda files: files[0].name[0]), raising=False)
    monkeypatch.setattr(
        stages, "label", traced("label", label, lambda *_: shapes.append("") or "abcd"[len(shapes) - 1]), raising=False
    )
    monkeypatch.setattr(stages, "write", traced("write", write, lambda _, __, file: file.name[0]), raising=False)
    predict(stages, images, output, **options)
    return noted


def test_one_after_the_other(stages, images, tmp_path, monkeypatch):
    noted = order_of(stages, images, tmp_path / "out", monkeypatch, read_ahead=False, write_behind=False)
    assert noted == [(stage, case, True) for case in "abcd" for stage in ("read", "label", "write")]


def test_reading_and_writing_in_threads(stages, images, tmp_path, monkeypatch):
    noted = order_of(stages, images, tmp_path / "out", monkeypatch)
    assert [(case, main) for stage, case, main in noted if stage == "label"] == [(case, True) for case in "abcd"]
    for stage in ("read", "write"):
        assert [(case, main) for name, case, main in noted if name == stage] == [(case, False) for case in "abcd"]


def test_the_next_case_is_read_while_the_network_works(stages, images, tmp_path, monkeypatch):
    """No more than one ahead: while a is predicted, b is read, and c is not."""
    read: list[str] = []
    both = threading.Event()
    prepare, label = stages.prepare, stages.label
    seen: list[list[str]] = []

    def reading(files):
        read.append(files[0].name[0])
        if len(read) == 2:
            both.set()
        return prepare(files)

    def labelling(*arguments):
        if not seen:
            assert both.wait(20), "the second case was not read meanwhile"
        seen.append(list(read))
        return label(*arguments)

    monkeypatch.setattr(stages, "prepare", reading, raising=False)
    monkeypatch.setattr(stages, "label", labelling, raising=False)
    predict(stages, images, tmp_path / "out")
    assert seen[0] == ["a", "b"]
    assert all(len(known) <= number + 2 for number, known in enumerate(seen))


def test_no_more_than_one_label_map_waits(stages, images, tmp_path, monkeypatch):
    """When the network begins with a case, all label maps but the last are written, however slowly."""
    written: list[str] = []
    seen: list[int] = []
    labelled = stages.label(stages.prepare([images / "a_0000.nii.gz"]))
    monkeypatch.setattr(stages, "label", lambda *_: seen.append(len(written)) or labelled, raising=False)

    def slowly(labels, properties, file):
        time.sleep(0.3)
        written.append(file.name)

    monkeypatch.setattr(stages, "write", slowly, raising=False)
    predict(stages, images, tmp_path / "out")
    assert all(count >= case - 1 for case, count in enumerate(seen)), seen
    assert written == [f"{name}.nii.gz" for name in "abcd"]


def test_a_corrupt_case(stages, images, tmp_path, caplog):
    (images / "b_0000.nii.gz").write_bytes(b"no image")
    results = predict(stages, images, tmp_path / "out")
    assert sorted(labels(tmp_path / "out")) == ["a.nii.gz", "c.nii.gz", "d.nii.gz"]
    problems = {result.name: result.problem for result in results if result.problem}
    assert list(problems) == ["b"]
    assert problems["b"].startswith(f"{images / 'b_0000.nii.gz'}: expected an intact image")
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [f"case b was not predicted: {problems['b']}"]
    assert "network" not in results[1].seconds


@pytest.mark.parametrize("behind", [True, False])
def test_a_label_map_that_cannot_be_written(stages, images, tmp_path, behind):
    (tmp_path / "out" / "c.nii.gz").mkdir(parents=True)
    results = predict(stages, images, tmp_path / "out", write_behind=behind)
    assert [result.name for result in results if result.problem] == ["c"]
    assert sorted(os.listdir(tmp_path / "out")) == ["a.nii.gz", "b.nii.gz", "c.nii.gz", "d.nii.gz"]


def test_ctrl_c_while_a_label_map_is_written(stages, images, tmp_path, monkeypatch):
    """The network of b is interrupted while a is half written: a is finished, nothing else is there."""
    half, interrupted = threading.Event(), threading.Event()
    write = SimpleITKIO.write_seg

    def slowly(self, seg, output_fname, properties):
        half.set()
        assert interrupted.wait(20)
        write(self, seg, output_fname, properties)

    label = stages.label

    def stopping(case, progress):
        if half.is_set() or len(started) == 1:
            assert half.wait(20)
            interrupted.set()
            raise KeyboardInterrupt
        started.append(case)
        return label(case, progress)

    started: list[object] = []
    monkeypatch.setattr(SimpleITKIO, "write_seg", slowly)
    monkeypatch.setattr(stages, "label", stopping, raising=False)
    with pytest.raises(KeyboardInterrupt):
        predict(stages, images, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["a.nii.gz"]
    assert np.asarray(nibabel.load(tmp_path / "out" / "a.nii.gz").dataobj).shape == (12, 16, 8)


def test_bars(stages, images, tmp_path, capfd):
    (images / "b_0000.nii.gz").write_bytes(b"no image")
    predict(stages, images, tmp_path / "out", show_progress=True)
    shown = capfd.readouterr().err
    assert "cases: 100%" in shown
    assert "4/4" in shown
    assert "a: " in shown
    predict(stages, images, tmp_path / "out")
    assert "cases" not in capfd.readouterr().err


def test_no_case(stages, tmp_path):
    assert predict_cases(stages, [], lambda case: tmp_path / case.name, show_progress=False) == []
