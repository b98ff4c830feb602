"""A preprocessed dataset whose files are whole and hold next to nothing."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import blosc2
import numpy as np


def write_preprocessed(
    folder: Path, identifier: str, cases: Sequence[str], ending: str = ".nii.gz", depth: int = 4
) -> Path:
    """Write what nnU-Net's preprocessing leaves, and folds: the last case validates; return the data's folder.

    Args:
        folder: The dataset's folder in nnUNet_preprocessed.
        identifier: Name of the data's folder.
        cases: Names of the cases.
        depth: Of the arrays.
    """
    data, truths = folder / identifier, folder / "gt_segmentations"
    for place in (data, truths):
        place.mkdir(parents=True, exist_ok=True)
    for case in cases:
        for name in (case, f"{case}_seg"):
            values = np.random.default_rng(depth).normal(size=(1, depth, 4, 4))
            blosc2.asarray(values, urlpath=str(data / f"{name}.b2nd"), mode="w")
        (data / f"{case}.pkl").write_bytes(pickle.dumps({"class_locations": {}}))
        (truths / f"{case}.nii.gz").write_text("label")
    (folder / "splits_final.json").write_text(json.dumps([{"train": list(cases[:-1]), "val": list(cases[-1:])}]))
    if not (folder / "dataset_fingerprint.json").exists():
        (folder / "dataset_fingerprint.json").write_text(json.dumps({"spacings": [[1, 1, 1]] * len(cases)}))
    return data
