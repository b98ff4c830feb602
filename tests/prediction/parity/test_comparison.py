"""Predictions of both compared: equal ones, a wrong one, one that fails."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from small_model import phantom, write_image

from nnunet_ext.data.raw_dataset import list_images
from nnunet_ext.errors import UserError
from nnunet_ext.prediction.parity import comparison
from nnunet_ext.prediction.parity.comparison import CaseParity, FailedComparison, compare_predictions, mean_dice
from nnunet_ext.prediction.parity.sides import Cost, Settings, predict_ours, predict_stock, stock_gap
from nnunet_ext.prediction.trained_model import TrainedModel

REGIONS = {"background": 0, "organ": [1, 2, 3], "wall": [2, 3], "tumour": [3]}
SPACING = (2.0, 1.3, 1.2)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads in place of processes, whose imports take ten seconds."""
    monkeypatch.setattr(comparison, "ProcessPoolExecutor", lambda n, _: ThreadPoolExecutor(n))


@pytest.fixture
def compare(threads, write_model, tmp_path) -> Callable[..., list[Any]]:
    """Predict phantoms with a small model, and return what differs; of the second image, bytes can be cut off."""

    def run(
        *,
        folds: tuple[str, ...] = ("0",),
        step_size: float = 1.0,
        mirroring: bool = False,
        border: int = 0,
        cut: int = 0,
        **kind: Any,
    ) -> list[Any]:
        folder = write_model(folds=(0, 1), **kind)
        for name, size in (("a", 20), ("b", 18)):
            image = phantom((12, size + border, 16), border=border, seed=size)
            write_image(tmp_path / "images" / f"{name}_0000.nii.gz", image[0], SPACING)
        file = tmp_path / "images" / "b_0000.nii.gz"
        file.write_bytes(file.read_bytes()[: file.stat().st_size - cut])
        settings = Settings(folder, folds, "checkpoint_final.pth", "cpu", step_size, mirroring)
        model = TrainedModel.load(folder, folds)
        cases = list_images(tmp_path / "images", ".nii.gz", 1)
        return list(compare_predictions(settings, model, cases, tmp_path / "out"))

    return run


def labels(file: Path) -> np.ndarray:
    return np.asarray(nibabel.load(file).dataobj)


def write(file: Path, array: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Image(array, nibabel.load(file).affine), file)


@pytest.mark.parametrize(
    "kind",
    [
        {"border": 3, "transpose": (1, 2, 0), "folds": ("0", "1"), "mirroring": True},
        {"labels": REGIONS, "order": [1, 2, 3]},
        {"patch_size": [16, 12], "spacing": [1.1, 1.2]},
    ],
    ids=str,
)
def test_our_predictions(compare, tmp_path, kind):
    found = compare(**kind)
    assert [parity.name for parity in found] == ["a", "b"]
    for parity in found:
        ours, stock = (labels(tmp_path / "out" / side / f"{parity.name}.nii.gz") for side in ("nnunet_ext", "stock"))
        assert parity.voxels == stock.size
        assert len(np.unique(stock)) > 1
        assert parity.differing == (ours != stock).sum() <= 3
        assert parity.is_rounding
        assert parity.dice == pytest.approx(1, abs=1e-2)
        assert min(parity.ours.seconds, parity.stock.seconds) > 0


@pytest.mark.parametrize("kind", [{"border": 3, "transpose": (1, 2, 0)}, {"labels": REGIONS, "order": [1, 2, 3]}])
def test_labels_that_are_moved(compare, monkeypatch, tmp_path, kind):
    def moved(settings, case, file):
        cost = predict_ours(settings, case, file)
        if case.name == "b":
            right = labels(file)
            (tmp_path / "right").mkdir()
            np.save(tmp_path / "right" / "b.npy", right)
            write(file, np.roll(right, 1, 1))
        return cost

    measured: list[np.ndarray] = []

    def recorded(settings, voxels, *pair):
        measured.append(voxels)
        return stock_gap(settings, voxels, *pair)

    monkeypatch.setattr(comparison, "predict_ours", moved)
    monkeypatch.setattr(comparison, "stock_gap", recorded)
    monkeypatch.setattr(comparison, "PART", 50)
    first, second = compare(**kind)
    right = np.load(tmp_path / "right" / "b.npy")
    wrong = labels(tmp_path / "out" / "nnunet_ext" / "b.nii.gz")
    assert first.is_rounding
    assert not second.is_rounding
    assert abs(second.differing - (right != wrong).sum()) <= 3
    assert second.gap > 10
    stock = labels(tmp_path / "out" / "stock" / "b.nii.gz").transpose(2, 1, 0)  # as read
    of_second = measured[-math.ceil(second.differing / 50) :]
    np.testing.assert_array_equal(np.concatenate(of_second), np.flatnonzero(stock != wrong.transpose(2, 1, 0)))
    dices = [
        2 * ((right == n) & (wrong == n)).sum() / ((right == n).sum() + (wrong == n).sum()) for n in np.unique(right)
    ]
    assert second.dice == pytest.approx(np.mean(dices[1:]), abs=1e-3)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("too\nlong"), "a: expected a prediction by nnU-Net, which failed: ValueError: too"),
        (UserError("x: wrong."), "a: expected a prediction by nnU-Net, which failed: x: wrong."),
    ],
)
def test_one_that_fails(compare, monkeypatch, error, text):
    def fail(settings, case, file):
        if case.name == "a":
            raise error
        return predict_stock(settings, case, file)

    monkeypatch.setattr(comparison, "predict_stock", fail)
    failed, other = compare()
    assert failed == FailedComparison("a", text)
    assert other.name == "b"
    assert other.is_rounding


def test_a_gap_that_cannot_be_measured(compare, monkeypatch):
    def moved(settings, case, file):
        cost = predict_ours(settings, case, file)
        write(file, np.roll(labels(file), 1, 1))
        return cost

    def fail_once(settings, voxels, *pair):
        monkeypatch.setattr(comparison, "stock_gap", stock_gap)
        raise MemoryError

    monkeypatch.setattr(comparison, "predict_ours", moved)
    monkeypatch.setattr(comparison, "stock_gap", fail_once)
    failed, other = compare()
    text = "a: expected a prediction by nnU-Net, which failed: MemoryError: MemoryError"
    assert failed == FailedComparison("a", text)
    assert other.gap > 10


def test_ours_that_fails(compare, monkeypatch):
    """nnU-Net does not predict what cannot be compared."""
    predicted = []
    monkeypatch.setattr(comparison, "predict_ours", lambda *_: 1 / 0)
    monkeypatch.setattr(comparison, "predict_stock", lambda *_: predicted.append(1))
    assert compare() == [
        FailedComparison(
            name,
            f"{name}: expected a prediction by nnunet_ext, which failed: ZeroDivisionError: division by zero",
        )
        for name in "ab"
    ]
    assert predicted == []


def test_a_truncated_image(compare, tmp_path):
    """The other of two images is compared."""
    whole, failed = compare(cut=300)
    assert whole.name == "a"
    assert whole.is_rounding
    assert failed.name == "b"
    assert failed.problem.startswith(
        f"b: expected a prediction by nnunet_ext, which failed: {tmp_path}/images/b_0000.nii.gz: expected an intact "
        f"image, but it is corrupt"
    )
    assert sorted(path.name for path in (tmp_path / "out" / "stock").iterdir()) == ["a.nii.gz"]


def test_a_process_that_is_killed(tmp_path):
    """Another one does the next job."""
    with contextlib.closing(comparison._Process("stock")) as process:
        case = list_images_of(tmp_path)
        with pytest.raises(UserError) as caught:
            process.result(case, os._exit, 1)
        assert process.result(case, os.getpid) != os.getpid()
    assert str(caught.value) == (
        "a: expected a prediction by nnU-Net, but its process ended: there is probably too little memory. Leave out "
        "large images, or use a machine with more."
    )


def list_images_of(folder: Path) -> Any:
    (folder / "a_0000.nii.gz").touch()
    return list_images(folder, ".nii.gz", 1)[0]


@pytest.mark.parametrize(("gap", "rounding"), [(0, True), (1.0, True), (1.003, True), (1.1, False), (np.nan, False)])
def test_rounding(gap, rounding):
    assert CaseParity("a", 9, 1, 1.0, gap, Cost(1, None), Cost(1, None)).is_rounding == rounding


def test_dice():
    one, other = np.array([[[0, 1, 1]], [[2, 0, 4]]]), np.array([[[0, 1, 0]], [[3, 0, 4]]])
    assert mean_dice(one, other) == mean_dice(other, one) == pytest.approx((2 / 3 + 0 + 0 + 1) / 4)
    assert mean_dice(one, one) == 1
    assert mean_dice(one * 0, one * 0) is None
