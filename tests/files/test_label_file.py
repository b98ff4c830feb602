"""Label maps are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

from nnunet_ext.files.label_file import write_label_map

LABELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
GEOMETRY = {"spacing": (1.0, 2.0, 3.0), "origin": (0.0,) * 3, "direction": (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)}


@pytest.mark.parametrize(
    ("writer", "name", "labels", "properties", "files"),
    [
        (SimpleITKIO(), "a.nii.gz", LABELS, {"sitk_stuff": GEOMETRY}, ["a.nii.gz"]),
        (SimpleITKIO(), "a.mha", LABELS, {"sitk_stuff": GEOMETRY}, ["a.mha"]),
        (Tiff3DIO(), "a.b.tif", LABELS, {"spacing": [3.0, 2.0, 1.0]}, ["a.b.json", "a.b.tif"]),
        (NaturalImage2DIO(), "a.png", LABELS[:1], {}, ["a.png"]),
    ],
    ids=["nii.gz", "mha", "tif", "png"],
)
def test_what_nnunet_writes(tmp_path, writer, name, labels, properties, files):
    write_label_map(writer, labels, tmp_path / name, properties)
    assert sorted(os.listdir(tmp_path)) == files
    (tmp_path / "theirs").mkdir()
    writer.write_seg(labels, str(tmp_path / "theirs" / name), properties)
    for file in files:
        if not file.endswith(".gz"):  # which holds a time
            assert (tmp_path / file).read_bytes() == (tmp_path / "theirs" / file).read_bytes()
    np.testing.assert_array_equal(writer.read_seg(str(tmp_path / name))[0][0], labels)


class Interrupted(SimpleITKIO):
    """A writer that is interrupted in the middle."""

    def write_seg(self, seg: np.ndarray, output_fname: str, properties: dict) -> None:
        Path(output_fname).write_bytes(b"half")
        Path(output_fname).with_suffix(".json").write_bytes(b"half")
        raise KeyboardInterrupt


def test_an_interrupted_writer_leaves_what_was_there(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        write_label_map(Interrupted(), LABELS, tmp_path / "a.nii.gz", {})
    assert os.listdir(tmp_path) == ["a.nii.gz"]
    assert (tmp_path / "a.nii.gz").read_bytes() == b"before"


def test_while_it_is_written_no_label_map_is_seen(tmp_path):
    class Looking(SimpleITKIO):
        def write_seg(self, seg: np.ndarray, output_fname: str, properties: dict) -> None:
            super().write_seg(seg, output_fname, properties)
            seen.extend(path.name for path in tmp_path.iterdir())
            assert output_fname.endswith("/a[1].nii.gz")

    seen: list[str] = []
    write_label_map(Looking(), LABELS, tmp_path / "a[1].nii.gz", {"sitk_stuff": GEOMETRY})
    assert seen == [f".a[1].nii.gz.{socket.gethostname()}.{os.getpid()}.partial"]
    assert os.listdir(tmp_path) == ["a[1].nii.gz"]


def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left_by(folder: Path, host: str, pid: int | str, name: str = "a[1].nii.gz") -> str:
    left = folder / f".{name}.{host}.{pid}.partial"
    left.mkdir()
    (left / name).write_bytes(b"half")
    return left.name


def test_only_what_dead_processes_left_is_removed(tmp_path):
    host, gone = socket.gethostname(), dead()
    left_by(tmp_path, host, gone)
    left_by(tmp_path, host, os.getpid())  # an earlier process of our number, as in containers
    kept = [
        left_by(tmp_path, host, os.getppid()),
        left_by(tmp_path, "elsewhere", gone),
        left_by(tmp_path, host, gone, "b.nii.gz"),
        left_by(tmp_path, host, "of_the_user"),
        left_by(tmp_path, host, 10**20),
    ]
    write_label_map(SimpleITKIO(), LABELS, tmp_path / "a[1].nii.gz", {"sitk_stuff": GEOMETRY})
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "a[1].nii.gz"])


def test_what_another_process_has_just_removed(tmp_path, monkeypatch):
    """Two commands that start on the same folder see the same folder of a dead process."""
    left = tmp_path / left_by(tmp_path, socket.gethostname(), dead())
    rmtree = shutil.rmtree

    def second(folder, *arguments, **options):
        if Path(folder) == left:
            rmtree(left)
        rmtree(folder, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", second)
    write_label_map(SimpleITKIO(), LABELS, tmp_path / "a[1].nii.gz", {"sitk_stuff": GEOMETRY})
    assert os.listdir(tmp_path) == ["a[1].nii.gz"]


def test_the_spacing_is_there_before_the_labels(tmp_path, monkeypatch):
    moved = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: moved.append(Path(target).name) or replace(self, target))
    write_label_map(Tiff3DIO(), LABELS, tmp_path / "a.tif", {"spacing": [3.0, 2.0, 1.0]})
    assert moved == ["a.json", "a.tif"]
    assert (tmp_path / "a.tif").stat().st_mode == (tmp_path / "a.json").stat().st_mode


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_label_map(SimpleITKIO(), LABELS, tmp_path / "gone" / "a.nii.gz", {"sitk_stuff": GEOMETRY})
