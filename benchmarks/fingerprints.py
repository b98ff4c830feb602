"""Datasets that exist as fingerprints only: enough to plan, and to train on random batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

CASES = 100


def write_fingerprint(root: Path, dataset: str, shape: tuple[int, ...], labels: int) -> None:
    """Write raw description and fingerprint of a CT dataset of 1 mm voxels below ``root``.

    Args:
        root: Holds ``nnUNet_raw`` and ``nnUNet_preprocessed``.
        dataset: ``Dataset001_Benchmark``.
        shape: Voxels (D, H, W) of a case.
        labels: Number of labels, background included.
    """
    raw, preprocessed = root / "nnUNet_raw" / dataset, root / "nnUNet_preprocessed" / dataset
    raw.mkdir(parents=True, exist_ok=True)
    preprocessed.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), raw / "image.nii.gz")
    case = {"images": ["image.nii.gz"], "label": "image.nii.gz"}
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **{f"class{number}": number for number in range(1, labels)}},
        "numTraining": CASES,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
        "dataset": {f"case{number}": case for number in range(CASES)},
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    intensities = {"mean": 90, "median": 95, "std": 30, "min": -900, "max": 1200}
    intensities |= {"percentile_00_5": -20, "percentile_99_5": 180}
    fingerprint = {
        "spacings": [[1.0, 1.0, 1.0]] * CASES,
        "shapes_after_crop": [list(shape)] * CASES,
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "median_relative_size_after_cropping": 1.0,
    }
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))


def write_collection(root: Path, collection: str, members: list[str]) -> None:
    """Write the manifest of a collection of such datasets."""
    raw = root / "nnUNet_raw" / collection
    raw.mkdir(parents=True, exist_ok=True)
    tasks: dict[str, Any] = {f"task{number}": {"dataset": member} for number, member in enumerate(members, 1)}
    (raw / "dataset.json").write_text(json.dumps({"tasks": tasks}))
