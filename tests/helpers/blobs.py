"""A dataset of blobs and the validation predictions of two folds, in which faults can be planted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from nnunet_ext.labels.suspects.fold_predictions import FoldPredictions
from nnunet_ext.labels.suspects.search import Suspects, search
from nnunet_ext.phantoms.dataset import write_nifti

DATASET = "Dataset960_Blobs"
MODEL = f"results/{DATASET}/nnUNetTrainer__nnUNetPlans__3d_fullres"
SHAPE, SPACING = (20, 30, 26), (2.0, 1.0, 1.0)
CASES, FOLDS = 12, 2
LABELS: dict[str, Any] = {"background": 0, "liver": 1, "spleen": 2}


def blob(centre: NDArray[Any], radius: NDArray[Any], shape: tuple[int, ...] = SHAPE) -> NDArray[np.bool_]:
    """An ellipsoid (D, H, W)."""
    places = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    return (((places / np.reshape(radius, (3, 1, 1, 1))) ** 2).sum(0)) < 1


def truth(number: int) -> NDArray[np.uint8]:
    """A large blob on one side; on the other, a smaller one of two components."""
    rng = np.random.default_rng((4, number))

    def near(*values: float) -> NDArray[Any]:
        return np.array(values) + rng.uniform(-0.5, 0.5, 3)

    labels = np.zeros(SHAPE, np.uint8)
    labels[blob(near(8, 11, 17), near(5, 6, 6))] = 1
    labels[blob(near(11, 21, 8), near(4, 4.5, 4.5))] = 2
    labels[blob(near(5, 8, 6), near(2.5, 2.5, 2.5))] = 2
    return labels


def guess(labels: NDArray[np.uint8], number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A prediction with a few wrong voxels along the boundary, and its probabilities (C, D, H, W)."""
    rng = np.random.default_rng((5, number))
    logits = np.stack([3.0 * (labels == label) for label in range(3)])
    smooth = logits.copy()
    for axis in (1, 2, 3):
        smooth = (np.roll(smooth, 1, axis) + 2 * smooth + np.roll(smooth, -1, axis)) / 4
    smooth = 4 * smooth + rng.normal(0, 0.5, smooth.shape)
    chances = np.exp(smooth - smooth.max(0))
    chances /= chances.sum(0)
    return chances.argmax(0).astype(np.uint8), chances.astype(np.float32)


@dataclass
class Blobs:
    """The folders.

    Args:
        root: With ``raw``, ``preprocessed`` and ``results``.
    """

    root: Path

    @property
    def raw(self) -> Path:
        return self.root / "raw" / DATASET

    def label(self, number: int) -> Path:
        return self.raw / "labelsTr" / f"case_{number:02d}.nii.gz"

    def validation(self, number: int) -> Path:
        return self.root / MODEL / f"fold_{number % FOLDS}" / "validation"

    def prediction(self, number: int) -> Path:
        return self.validation(number) / f"case_{number:02d}.nii.gz"

    def read(self, file: Path) -> NDArray[Any]:
        return np.asarray(nibabel.load(file).dataobj).T

    def change(self, number: int, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        """Replace a label (D, H, W) by what a function makes of it."""
        changed = change(self.read(self.label(number)).copy())
        write_nifti(self.label(number), changed.astype(np.uint8), SPACING)

    def describe(self, **changes: Any) -> None:
        """Change dataset.json, of the dataset and of the model."""
        for file in (self.raw / "dataset.json", self.root / MODEL / "dataset.json"):
            file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    def find(self, *folds: str) -> FoldPredictions:
        return FoldPredictions.find("960", "nnUNetTrainer", "nnUNetPlans", "3d_fullres", folds)

    def search(self) -> Suspects:
        return search(self.find(), show_progress=False)


def write_blobs(root: Path) -> Blobs:
    """12 cases, predicted by two folds with probabilities."""
    found = Blobs(root)
    planned, model = root / "preprocessed" / DATASET, root / MODEL
    for folder in (found.raw / "imagesTr", found.raw / "labelsTr", planned, *map(found.validation, range(FOLDS))):
        folder.mkdir(parents=True)
    for number in range(CASES):
        labels = truth(number)
        image = 100.0 * labels + np.random.default_rng(number).normal(50, 5, SHAPE)
        prediction, chances = guess(labels, number)
        write_nifti(found.label(number), labels, SPACING)
        write_nifti(found.raw / "imagesTr" / f"case_{number:02d}_0000.nii.gz", image.astype(np.float32), SPACING)
        write_nifti(found.prediction(number), prediction, SPACING)
        np.savez_compressed(found.validation(number) / f"case_{number:02d}.npz", probabilities=chances)
    for fold in range(FOLDS):
        (found.validation(fold) / "summary.json").write_text("{}")
    cases = [f"case_{number:02d}" for number in range(CASES)]
    splits = [{"train": cases[1 - fold :: FOLDS], "val": cases[fold::FOLDS]} for fold in range(FOLDS)]
    (planned / "splits_final.json").write_text(json.dumps(splits))
    (planned / "dataset_fingerprint.json").write_text("{}")
    description = {"channel_names": {"0": "CT"}, "labels": LABELS, "numTraining": CASES, "file_ending": ".nii.gz"}
    plans = {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "configurations": {"3d_fullres": {"data_identifier": "nnUNetPlans_3d_fullres"}},
    }
    for file in (found.raw / "dataset.json", model / "dataset.json"):
        file.write_text(json.dumps(description))
    for file in (model / "plans.json", planned / "nnUNetPlans.json"):
        file.write_text(json.dumps(plans))
    return found
