"""Folders as challenges ship them, with tiny phantoms: their names, odd axes, stray files, partial annotators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

THICK, FINE = 2.5, 0.8  # mm
# of KiTS: voxel axes are slices from head to feet, rows from back to front, columns from right to left
KITS = np.array([[0, 0, -FINE, 0], [0, -FINE, 0, 0], [-THICK, 0, 0, 0], [0, 0, 0, 1]], float)
KITS_SHAPE = (6, 12, 10)
# rows that are not parallel to the patient's axes, and an origin that float32 does not hold exactly
OBLIQUE = np.array([[-0.6, -0.48, 0.0, 123.4567], [0.8, -0.36, 0, -71.1], [0, 0, 3, -903.3], [0, 0, 0, 1]], float)
OBLIQUE[:3, :3] = np.linalg.qr(OBLIQUE[:3, :3])[0] * (0.6, 0.55, 3.0)
SHAPE = (9, 7, 5)


def write_volume(file: Path, array: NDArray, affine: NDArray, *, codes: tuple[int, int] = (2, 0)) -> Path:
    """Write an array (X, Y, Z) with the codes of sform and qform."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, codes[0])
    image.set_qform(affine if codes[1] else None, codes[1])
    nibabel.save(image, file)
    return file


def ct(shape: Sequence[int], seed: int = 0) -> NDArray[np.int16]:
    """Draw a CT without any symmetry, brighter towards the end of each axis."""
    ramp = sum((axis + 1) * each for axis, each in enumerate(np.indices(shape)))
    return (np.random.default_rng(seed).normal(0, 30, shape) + 10 * ramp - 100).astype(np.int16)


def box(shape: Sequence[int], *sides: tuple[int, int], dtype: type = np.uint8) -> NDArray:
    """Return a mask that is 1 in a box, given the first and the end of each side."""
    mask = np.zeros(shape, dtype)
    mask[tuple(slice(*side) for side in sides)] = 1
    return mask


def kits_tree(
    root: Path, cases: Sequence[int] = (0, 1), *, aggregated: bool = True, folder: str = "segmentations"
) -> Path:
    """Write cases of KiTS: a kidney with a tumor and a cyst that only one annotator drew.

    The three annotators' kidneys end at column 7, 8 and 9, so that the majority ends at 8; the tumor and the cyst
    overlap in a column, in which the tumor wins; float64, as the challenge's.
    """
    names = ("aggregated_MAJ_seg.nii.gz", "segmentation.nii.gz")
    for number in cases:
        case = root / f"case_{number:05d}"
        write_volume(case / "imaging.nii.gz", ct(KITS_SHAPE, number), KITS)
        for annotation, end in ((1, 7), (2, 8), (3, 9)):
            kidney = box(KITS_SHAPE, (1, 5), (2, 10), (1, end), dtype=np.float64)
            tumor = box(KITS_SHAPE, (2, 4), (3, 6), (2, 5 if annotation == 3 else 4), dtype=np.float64)
            write_volume(case / folder / f"kidney_instance-1_annotation-{annotation}.nii.gz", kidney, KITS)
            write_volume(case / folder / f"tumor_instance-1_annotation-{annotation}.nii.gz", tumor, KITS)
        cyst = box(KITS_SHAPE, (2, 4), (3, 6), (3, 6), dtype=np.float64)
        write_volume(case / folder / "cyst_instance-1_annotation-1.nii.gz", cyst, KITS)
        everything = np.ones(KITS_SHAPE)
        write_volume(case / folder / ".suppl.tumor_instance-2_annotation-1.nii.gz", everything, KITS)
        write_volume(case / folder / "tumor_instance-3_annotation-1.suppl.nii.gz", everything, KITS)
        if aggregated:
            write_volume(case / names[folder == "instances"], kits_majority(), KITS)
    (root / "clinical_data.json").write_text("[]")
    return root


def kits_majority() -> NDArray[np.uint8]:
    """Return the label map of every case of :func:`kits_tree`, worked out by hand."""
    labels = np.zeros(KITS_SHAPE, np.uint8)
    labels[1:5, 2:10, 1:8] = 1
    labels[2:4, 3:6, 3:6] = 3
    labels[2:4, 3:6, 2:4] = 2
    return labels


def segrap_tree(root: Path, structures: Sequence[str], names: Sequence[str] = ("segrap_0000", "segrap_0001")) -> Path:
    """Write cases of SegRap2023 with random masks, among them combinations that have no label."""
    for seed, name in enumerate(names):
        rng = np.random.default_rng(seed)
        for channel, file in enumerate(("image.nii.gz", "image_contrast.nii.gz")):
            write_volume(root / name / file, ct(SHAPE, 10 * seed + channel), OBLIQUE, codes=(1, 1))
        for structure in structures:
            low = [int(rng.integers(0, side - 1)) for side in SHAPE]
            sides = [(start, start + int(rng.integers(1, 4))) for start in low]
            write_volume(root / name / f"{structure}.nii.gz", box(SHAPE, *sides), OBLIQUE, codes=(1, 1))
    return root


def paired_tree(root: Path, images: str, labels: str, numbers: Sequence[str], largest: int) -> Path:
    """Write images and label maps whose names differ in a number, such as ``img/img{}.nii.gz``."""
    for number in numbers:
        write_volume(root / images.format(number), ct(SHAPE, int(number)), OBLIQUE)
        values = np.random.default_rng(int(number)).integers(0, largest + 1, SHAPE).astype(np.uint8)
        write_volume(root / labels.format(number), values, OBLIQUE)
    return root
