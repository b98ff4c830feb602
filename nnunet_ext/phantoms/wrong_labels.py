"""Labels of a phantom dataset that are wrong on purpose, for ``nnunet_ext suspect_labels`` to find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

SHIFT = 3  # voxels


def _mirrored(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    return np.flip(labels, 0)


def _shifted(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    found = np.zeros_like(labels)
    found[:, SHIFT:] = labels[:, :-SHIFT]
    return found


def _swapped(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    return np.where(labels == 1, 2, np.where(labels == 2, 1, labels)).astype(labels.dtype)


FAULTS: dict[str, Callable[[NDArray[np.integer]], NDArray[np.integer]]] = {
    "mirrored along the first axis of the file": _mirrored,
    f"shifted by {SHIFT} voxels along the second axis of the file": _shifted,
    "classes 1 and 2 swapped": _swapped,
}


def write_wrong_labels(dataset: Path) -> dict[str, str]:
    """Spoil the labels of the first three cases of a raw dataset.

    Args:
        dataset: Its folder in nnUNet_raw, with at least three cases; files are NIfTI.

    Returns:
        What is wrong, by case.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from nnunet_ext import write_phantom_dataset
        >>> with TemporaryDirectory() as raw:
        ...     folder = write_phantom_dataset(Path(raw), "Dataset999_Phantom", cases=3, shape=(12, 24, 24))
        ...     write_wrong_labels(folder)["case_002"]
        'classes 1 and 2 swapped'
    """
    found = {}
    for (fault, spoil), file in zip(FAULTS.items(), sorted((dataset / "labelsTr").glob("*.nii.gz")), strict=False):
        stored = nibabel.load(file)
        spoiled = spoil(np.asarray(stored.dataobj).astype(np.uint8))
        nibabel.save(nibabel.Nifti1Image(spoiled, stored.affine), file)
        found[file.name.removesuffix(".nii.gz")] = fault
    return found
