"""Our own prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
from report import Cell
from stock import (
    CHAIN_TRAINERS,
    PLANS,
    SEMI_SUPERVISED_TRAINERS,
    folder,
    prediction,
    prepare_cascade,
    prepare_for,
    stock,
    trained,
)

from nnunet_ext.cli.main import main as nnunet_ext

pytestmark = pytest.mark.slow
LEFT = "nnU-Net's own prediction is used"


@pytest.mark.row(
    "nnunet_ext predict: the same labels as nnUNetv2_predict, {labels}, {configuration}", of_each_kind=True
)
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize("labels", ["plain", "ignore", "regions", "regions+ignore"])
def test_labels(
    trainer: str, labels: str, configuration: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(trainer, labels, configuration)
    told = check_predictions(trainer, labels, configuration, tmp_path, capsys)
    assert LEFT not in told
    assert "1 case predicted in" in told


@pytest.mark.row(
    "nnunet_ext predict: the same labels as nnUNetv2_predict, anisotropic voxels; 3d_fullres", of_each_kind=True
)
def test_anisotropic(trainer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(trainer, "anisotropic", "3d_fullres")
    # of a training of two steps, some images may have no foreground
    assert LEFT not in check_predictions(trainer, "anisotropic", "3d_fullres", tmp_path, capsys, images="imagesTr")


@pytest.mark.row("nnunet_ext predict: the same labels as nnUNetv2_predict, two folds; 3d_fullres", of_each_kind=True)
def test_two_folds(trainer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for fold in (0, 1):
        trained(trainer, "plain", "3d_fullres", fold)
    assert LEFT not in check_predictions(trainer, "plain", "3d_fullres", tmp_path, capsys, folds=(0, 1))


@pytest.mark.row(
    "nnunet_ext predict: the same labels as nnUNetv2_predict, 3d_lowres; 3d_cascade_fullres is left to nnU-Net",
    expensive=True,
    of="datasets",
    why="collections have no cascade",
)
def test_cascade(trainer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], cell: Cell) -> None:
    plans = prepare_cascade(trainer, "plain")
    trained(trainer, "plain", "3d_lowres", "all", plans=plans)
    lowres = tmp_path / "3d_lowres"
    told = check_predictions(trainer, "plain", "3d_lowres", lowres, capsys, folds=["all"], plans=plans)
    assert LEFT not in told
    if trainer in (*SEMI_SUPERVISED_TRAINERS, *CHAIN_TRAINERS):
        cell.note("only 3d_lowres: there is no second stage to predict with")
        return
    trained(trainer, "plain", "3d_cascade_fullres", plans=plans)
    previous = ("-prev_stage_predictions", lowres / "ours")
    told = check_predictions(
        trainer, "plain", "3d_cascade_fullres", tmp_path / "cascade", capsys, *previous, plans=plans
    )
    assert f"{LEFT}: predictions of a previous stage are given" in told


@pytest.mark.row(
    "nnunet_ext predict_tasks: the same labels as nnUNetv2_predict with the view, {labels}",
    of="collections",
    why="the trainer knows no collections",
    of_each_kind=True,
)
@pytest.mark.parametrize("labels", ["plain", "regions"])
def test_predict_tasks(trainer: str, labels: str, tmp_path: Path) -> None:
    trained(trainer, labels, "3d_fullres")
    images = off_the_grid(labels, tmp_path / "images")
    stock("nnUNetv2_predict", *prediction(trainer, labels, "3d_fullres", images, tmp_path / "stock"))
    words = [
        "-i", images, "-o", tmp_path / "ours", "-d", prepare_for(trainer, labels), "-c", "3d_fullres", "-tr", trainer,
        "-p", PLANS, "-f", 0, "-device", "cpu", "--disable_progress_bar",
    ]  # fmt: skip
    assert nnunet_ext(["predict_tasks", *map(str, words)]) == 0
    check_same_labels(tmp_path / "ours" / "Phantom", tmp_path / "stock")


def check_predictions(
    trainer: str,
    data: str,
    configuration: str,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    *flags: object,
    folds: Sequence[int | str] = (0,),
    plans: str = PLANS,
    images: str = "imagesTs",
) -> str:
    """Predict by both, into ``stock`` and ``ours``, compare the label maps, and return what our command told."""
    moved = off_the_grid(data, out / "images", images)
    words = [
        prediction(trainer, data, configuration, moved, out / name, *flags, folds=folds, plans=plans)
        for name in ("stock", "ours")
    ]
    stock("nnUNetv2_predict", *words[0])
    capsys.readouterr()
    assert nnunet_ext(["predict", *words[1]]) == 0
    told = capsys.readouterr()
    check_same_labels(out / "ours", out / "stock", some=images != "imagesTs")
    return told.out + told.err


def off_the_grid(data: str, out: Path, images: str = "imagesTs") -> Path:
    """Copy a dataset's images with other voxel sizes than those planned; images and logits must be resampled."""
    out.mkdir(parents=True)
    for file in (folder("nnUNet_raw", data) / images).glob("*.nii.gz"):
        image = nibabel.load(file)
        affine = image.affine @ np.diag([1.3, 0.8, 0.9, 1.0])
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), out / file.name)
    return out


def check_same_labels(ours: Path, theirs: Path, *, some: bool = False) -> None:
    """Check that two folders hold the same label maps, voxel by voxel, and that all, or some, show something."""
    files = sorted(theirs.glob("*.nii.gz"))
    assert files
    assert [file.name for file in files] == sorted(file.name for file in ours.glob("*.nii.gz"))
    shown = [len(np.unique(np.asarray(nibabel.load(file).dataobj))) > 1 for file in files]
    assert any(shown) if some else all(shown), f"{theirs}: label maps of one label show nothing"
    for file in files:
        expected, found = nibabel.load(file), nibabel.load(ours / file.name)
        labels = np.asarray(expected.dataobj)
        np.testing.assert_array_equal(np.asarray(found.dataobj), labels)
        assert found.get_data_dtype() == expected.get_data_dtype()
        np.testing.assert_array_equal(found.affine, expected.affine)
