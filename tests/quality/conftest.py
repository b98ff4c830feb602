"""A model of two organs with measured training cases, and a set of predictions in which faults are planted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from nnunet_ext.phantoms.dataset import phantom_case, write_nifti
from nnunet_ext.quality.assessment import Assessment
from nnunet_ext.quality.case_quality import CaseQuality
from nnunet_ext.quality.model_files import ModelFiles
from nnunet_ext.quality.training_labels import training_labels

DATASET = "Dataset950_Torso"
SPACING = (2.5, 1.0, 1.0)
LIVER, SPLEEN = 1, 2
TRAINING, CASES = 20, 22


def organ(rng: np.random.Generator, shape: tuple[int, int, int]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A phantom, image and mask (D, H, W), of whose voxels the organ has about a sixth, as in patients of one build."""
    while True:
        image, labels = phantom_case(rng, shape=shape, spacing=SPACING)
        if 0.145 < (labels > 0).mean() < 0.185:
            return image[0], labels > 0


def torso(seed: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A large organ on the patient's right and a small one on the left, of phantoms, with a margin of background.

    Files of phantoms grow towards the right, head and front (RAS).

    Returns:
        Image (D, H, W) in units of CT and labels (D, H, W).
    """
    rng = np.random.default_rng((9, seed))
    height = int(rng.integers(22, 26))
    (small, left), (large, right) = (organ(rng, (10, height, width)) for width in (16, 24))
    labels = np.concatenate([np.where(left, SPLEEN, 0), np.where(right, LIVER, 0)], 2).astype(np.uint8)
    margin = ((2, 2), (3, 3), (3, 3))
    image = np.pad(np.concatenate([small, large], 2), margin, mode="edge")
    return image, np.pad(labels, margin)


@dataclass
class Torsos:
    """The folders.

    Args:
        root: With ``raw``, ``images``, ``predictions`` and ``model``.
    """

    root: Path

    @property
    def model(self) -> Path:
        return self.root / "results" / DATASET / "nnUNetTrainer__nnUNetPlans__3d_fullres"

    def prediction(self, case: str) -> Path:
        return self.root / "predictions" / f"{case}.nii.gz"

    def image(self, case: str) -> Path:
        return self.root / "images" / f"{case}_0000.nii.gz"

    def change(self, case: str, change: Callable[[NDArray], NDArray], *, image: bool = False) -> None:
        """Replace a prediction, or an image, (D, H, W) by what a function makes of it."""
        file = self.image(case) if image else self.prediction(case)
        stored = nibabel.load(file)
        array = np.asarray(stored.dataobj).T
        nibabel.save(nibabel.Nifti1Image(change(array).T, stored.affine), file)

    def look(self) -> dict[str, CaseQuality]:
        model = ModelFiles.read(self.model)
        training = training_labels(model, self.root / "qa_reference.json", show_progress=False)
        found = Assessment(model, training).of_folder(
            self.root / "images", self.root / "predictions", show_progress=False
        )
        return {case.name: case for case in found}


@pytest.fixture(scope="session")
def _torsos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("torsos")
    raw, model = root / "raw" / DATASET, Torsos(root).model
    for folder in (raw / "labelsTr", root / "images", root / "predictions", root / "preprocessed", model / "fold_0"):
        folder.mkdir(parents=True)
    shapes, inside = [], []
    for number in range(TRAINING):
        image, labels = torso(number)
        shapes.append(list(image.shape))
        inside.append(image[labels > 0])
        write_nifti(raw / "labelsTr" / f"case_{number:03d}.nii.gz", labels, SPACING)
    for number in range(CASES):
        image, labels = torso(100 + number)
        write_nifti(root / "images" / f"new_{number:02d}_0000.nii.gz", image, SPACING)
        write_nifti(root / "predictions" / f"new_{number:02d}.nii.gz", labels, SPACING)
    low, median, high = np.percentile(np.concatenate(inside), (0.5, 50, 99.5))
    pool = {"median": float(median), "percentile_00_5": float(low), "percentile_99_5": float(high)}
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": LIVER, "spleen": SPLEEN},
        "numTraining": TRAINING,
        "file_ending": ".nii.gz",
    }
    fingerprint = {
        "spacings": [list(SPACING)] * TRAINING,
        "shapes_after_crop": shapes,
        "foreground_intensity_properties_per_channel": {"0": pool},
    }
    plans = {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "configurations": {"3d_fullres": {"normalization_schemes": ["CTNormalization"]}},
    }
    for name, content in {"dataset": description, "plans": plans, "dataset_fingerprint": fingerprint}.items():
        (model / f"{name}.json").write_text(json.dumps(content))
    (model / "fold_0" / "checkpoint_final.pth").write_bytes(b"")
    return root


@pytest.fixture
def torsos(_torsos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Torsos:
    """A copy that a test may change; nnU-Net's variables point to it."""
    root = Path(shutil.copytree(_torsos, tmp_path / "torsos"))
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(root / name))
    return Torsos(root)
