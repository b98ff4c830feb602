"""Phantoms in the folders of KiTS21: its names, axes and annotators."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_ext.phantoms.dataset import TUMOUR, WALL, phantom_case

SPACING = (2.5, 1.0, 1.0)  # mm, of slices, rows and columns
# voxel axes run from head to feet, from back to front, from right to left
AFFINE = np.array([[0, 0, -SPACING[2], 0], [0, -SPACING[1], 0, 0], [-SPACING[0], 0, 0, 0], [0, 0, 0, 1]], float)


def write_kits21_phantoms(root: Path, *, cases: int = 6, shape: tuple[int, int, int] = (20, 48, 40)) -> Path:
    """Write cases of KiTS21: a kidney with a tumor and, in every second case, a cyst.

    Three annotators drew the kidney and the tumor, the second a little more than the others; one drew the cyst. There
    is no aggregated label, and there are stray files, as in the challenge's data.

    Args:
        root: The folder; made if it is missing.
        cases: Their number.
        shape: Voxels (D, H, W) of each case.

    Returns:
        The folder.
    """
    for number in range(cases):
        rng = np.random.default_rng((21, number))
        image, label = phantom_case(rng, shape=shape, spacing=SPACING)
        case = root / f"case_{number:05d}"
        _write(case / "imaging.nii.gz", image[0].astype(np.int16))
        kidney, tumor = label > 0, label == TUMOUR
        drawn = {"kidney": kidney, "tumor": tumor}
        for name, mask in drawn.items():
            for annotation, grown in enumerate((False, True, False), start=1):
                shown = ndimage.binary_dilation(mask) if grown else mask
                _write(
                    case / "segmentations" / f"{name}_instance-1_annotation-{annotation}.nii.gz", shown.astype(float)
                )
        if number % 2:
            cyst = (label == WALL) & (np.arange(shape[2]) < shape[2] // 3)
            _write(case / "segmentations" / "cyst_instance-1_annotation-1.nii.gz", cyst.astype(float))
        _write(case / "segmentations" / ".suppl.tumor_instance-2_annotation-1.nii.gz", np.ones(shape))
    (root / "kits.json").write_text("[]")
    return root


def _write(file: Path, array: NDArray) -> None:
    """Write (D, H, W) with only an sform, as the challenge does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, AFFINE)
    image.set_sform(AFFINE, 2)
    image.set_qform(None, 0)
    nibabel.save(image, file)
