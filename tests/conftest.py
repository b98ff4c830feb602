"""What all tests share."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

# nnU-Net reads these when it is imported
os.environ.update(nnUNet_def_n_proc="2", nnUNet_n_proc_DA="1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # OpenMP reads it when torch is imported: waits without spinning


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare our own options here: pytest reads those of deeper folders too late."""
    parser.addoption(
        "--conformance-report", metavar="FILE.md", help="write the table of tests/conformance to this file"
    )


@pytest.fixture
def fingerprinted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make ``Dataset900_Planned`` out of members that exist as fingerprints only; return its preprocessed folder.

    The function takes the members' settings by task name, what else the manifest says, and the tasks' own settings.
    """
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")

    def make(
        members: dict[str, dict[str, Any]], tasks: dict[str, dict[str, Any]] | None = None, **manifest: str
    ) -> Path:
        entries = {}
        for number, (name, settings) in enumerate(members.items(), start=1):
            dataset = f"Dataset{number:03d}_{name}"
            _write_fingerprinted(tmp_path, dataset, **settings)
            entries[name] = {"dataset": dataset} | (tasks or {}).get(name, {})
        raw = tmp_path / "nnUNet_raw" / "Dataset900_Planned"
        raw.mkdir(exist_ok=True)
        (raw / "dataset.json").write_text(json.dumps({"tasks": entries} | manifest))
        return tmp_path / "nnUNet_preprocessed" / "Dataset900_Planned"

    return make


def _write_fingerprinted(
    root: Path,
    dataset: str,
    *,
    cases: int = 10,
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
    shape: tuple[int, ...] = (40, 40, 40),
    channels: tuple[str, ...] = ("CT",),
    labels: dict[str, Any] | None = None,
    mean: float = 100.0,
    relative: float = 1.0,
    **description: Any,
) -> None:
    raw, preprocessed = root / "nnUNet_raw" / dataset, root / "nnUNet_preprocessed" / dataset
    raw.mkdir(parents=True)
    preprocessed.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), raw / "image.nii.gz")
    case = {"images": ["image.nii.gz"] * len(channels), "label": "image.nii.gz"}
    description = {
        "channel_names": {str(index): name for index, name in enumerate(channels)},
        "labels": labels or {"background": 0, "organ": 1},
        "numTraining": cases,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
        "dataset": {f"case{index}": case for index in range(cases)},
    } | description
    (raw / "dataset.json").write_text(json.dumps(description))
    intensities = {"mean": mean, "median": mean, "std": 3, "min": mean - 9, "max": mean + 9}
    intensities |= {"percentile_00_5": mean - 8, "percentile_99_5": mean + 8}
    fingerprint = {
        "spacings": [spacing] * cases,
        "shapes_after_crop": [shape] * cases,
        "foreground_intensity_properties_per_channel": {str(index): intensities for index in range(len(channels))},
        "median_relative_size_after_cropping": relative,
    }
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
