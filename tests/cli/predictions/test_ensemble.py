"""``nnunet_ext ensemble``: what it writes and prints, and the mistakes that one can make."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from small_model import phantom, write_image, write_small_model

from nnunet_ext.cli.main import main


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_small_model(tmp_path / "a")
    write_small_model(tmp_path / "b", patch_size=[8, 12, 16], spacing=[1.6, 1.2, 1.2], folds=(0, 1))
    write_image(tmp_path / "images" / "case_0000.nii.gz", phantom((9, 16, 12))[0], (1.5, 1.5, 1.5))
    return tmp_path


def words(folder: Path, *names: str) -> list[str]:
    models = [str(next((folder / name).glob("*/*"))) for name in names]
    places = ["-i", str(folder / "images"), "-o", str(folder / "out")]
    return ["ensemble", *models, *places, "-device", "cpu", "--disable_tta", "--disable_progress_bar"]


def test_two_models(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = words(folder, "a", "b")
    assert main(given) == 0
    assert f"1 case predicted in {folder / 'out'}" in capsys.readouterr().out
    record = json.loads((folder / "out" / "predict_from_raw_data_args.json").read_text())
    assert record["models"] == given[1:3]
    (folder / "out" / "case.nii.gz").write_bytes(b"kept")
    assert main([*given, "--continue_prediction"]) == 0
    assert (folder / "out" / "case.nii.gz").read_bytes() == b"kept"


def test_a_damaged_image(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "images" / "bad_0000.nii.gz").write_bytes(b"no image")
    assert main(words(folder, "a", "b")) == 1
    out, problems = capsys.readouterr()
    assert "1 case predicted" in out
    assert "1 case not predicted:" in problems


def test_mistakes(folder: Path, mistake: Callable[[str], str]) -> None:
    assert "expected two or more, got 1" in mistake(" ".join(words(folder, "a")))
    both = " ".join(words(folder, "a", "b"))
    assert "expected less than -num_parts, 1" in mistake(f"{both} -part_id 1")
    assert "expected the checkpoint of fold 1, found no file" in mistake(f"{both} -f 1")
    missing = both.replace("ensemble ", f"ensemble {folder / 'none.zip'} ")
    assert mistake(missing).startswith(f"{folder / 'none.zip'}: expected the folder or the zip file")
