"""Our commands in a process where another package has replaced parts of nnU-Net, as TotalSegmentator does.

``test_predictor.py`` has the same for arrays.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from types import FunctionType
from typing import Any

import nibabel
import numpy as np
import pytest
from nnunetv2.inference import export_prediction, predict_from_raw_data
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from small_model import phantom, write_image, write_small_model

from nnunet_ext.cli.main import main
from nnunet_ext.prediction import Predictor

FLAGS = ["-c", "3d_fullres", "--disable_tta", "-device", "cpu", "--disable_progress_bar", "-f", "0"]


class ReplacedError(Exception):
    """A part of nnU-Net that another package has replaced was called."""


def replaced(*_: Any, **__: Any) -> None:
    raise ReplacedError


def replace_parts(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Replace all methods of nnUNetPredictor and all functions that its module or the export has; return the names.

    nnU-Net's commands stay, so that a test can call them.
    """
    parts = [
        (owner, name)
        for owner in (nnUNetPredictor, predict_from_raw_data, export_prediction)
        for name, value in vars(owner).items()
        if isinstance(inspect.unwrap(value), FunctionType) and not name.endswith("entry_point")
    ]
    for owner, name in parts:
        monkeypatch.setattr(owner, name, replaced)
    return {name for _, name in parts}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stock model of two folds, and two images."""
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    write_small_model(tmp_path / "results", folds=(0, 1))
    for number, name in enumerate("ab"):
        write_image(tmp_path / "images" / f"{name}_0000.nii.gz", phantom((8, 16, 12), seed=number)[0], (2, 1.2, 1.2))
    return tmp_path


def label_maps(folder: Path) -> dict[str, np.ndarray]:
    found = {str(file.relative_to(folder)): np.asarray(nibabel.load(file).dataobj) for file in folder.rglob("*.nii.gz")}
    assert all(len(np.unique(labels)) > 1 for labels in found.values())
    return found


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, labels in found.items():
        np.testing.assert_array_equal(labels, expected[name], name)


def test_predict(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def predict(out: str, *more: str) -> dict[str, np.ndarray]:
        words = ["-i", str(folders / "images"), "-o", str(folders / out), "-d", "901", *FLAGS, "1", *more]
        assert main(["predict", *words]) == 0
        return label_maps(folders / out)

    before = predict("before")
    assert sorted(before) == ["a.nii.gz", "b.nii.gz"]
    names = replace_parts(monkeypatch)
    assert names >= {"__init__", "_internal_predict_sliding_window_return_logits", "export_prediction_from_logits"}
    with pytest.raises(ReplacedError):
        predict("theirs", "--stock", "-npp", "0", "-nps", "0")
    assert_equal(predict("after"), before)


def test_predictor(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def predict(out: str) -> dict[str, np.ndarray]:
        predictor = Predictor(next((folders / "results").glob("*/*")), device="cpu", mirroring=False)
        predictor.predict_folder(folders / "images", folders / out, show_progress=False)
        predictor.predict_files([folders / "images" / "a_0000.nii.gz"], folders / out / "again.nii.gz")
        return label_maps(folders / out)

    before = predict("before")
    assert sorted(before) == ["a.nii.gz", "again.nii.gz", "b.nii.gz"]
    replace_parts(monkeypatch)
    assert_equal(predict("after"), before)


def test_predict_tasks(untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def predict(out: str) -> dict[str, np.ndarray]:
        images = untrained / "raw" / "Dataset901_Organ" / "imagesTs"
        words = ["-d", "900", "-p", "CollectionLitePlans", "-i", str(images), "-o", str(untrained / out), *FLAGS]
        assert main(["predict_tasks", *words, "--tasks", "organ", "nested", "coarse"]) == 0
        return label_maps(untrained / out)

    before = predict("before")
    assert len(before) == 6
    replace_parts(monkeypatch)
    assert_equal(predict("after"), before)
