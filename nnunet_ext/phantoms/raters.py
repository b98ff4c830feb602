"""Synthetic raters of a labelled dataset: they draw too much, right, or too little, and never quite the same."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

RATERS = {"generous": 1.0, "exact": 0.0, "strict": -1.0}  # voxels by which each moves the boundary outwards
SMOOTHNESS = 2.0  # voxels, of the noise


def drawn_by(
    truth: NDArray[np.integer], shift: float, noise: float, rng: np.random.Generator, ignore: int | None = None
) -> NDArray[np.integer]:
    """Return a label map as a rater would draw it who moves the boundary between foreground and background.

    Args:
        truth: Label map (D, H, W), 0 is background.
        shift: Voxels by which the boundary moves outwards; negative: inwards.
        noise: Standard deviation, in voxels, of a smooth random field that is added to the shift.
        rng: Source of the noise.
        ignore: Label that stays where it is, and into which nothing grows.

    Returns:
        Label map of the same type; what grows has the label of the nearest foreground voxel.
    """
    foreground = truth > 0 if ignore is None else (truth > 0) & (truth != ignore)
    if not foreground.any():
        return truth.copy()
    outside, nearest = ndimage.distance_transform_edt(~foreground, return_indices=True)
    inside = ndimage.distance_transform_edt(foreground)
    distance = np.where(foreground, 0.5 - inside, outside - 0.5)  # in voxels, 0 on the boundary between two
    field = ndimage.gaussian_filter(rng.standard_normal(truth.shape), SMOOTHNESS)
    drawn = distance < shift + noise * field / field.std()
    found: NDArray[np.integer] = np.where(drawn, truth[tuple(nearest)], 0).astype(truth.dtype)
    if ignore is not None:
        found[truth == ignore] = ignore
    return found


def write_phantom_raters(
    dataset: Path, *, noise: float = 0.7, missing: float = 0.0, seed: int = 0, ignore: int | None = None
) -> None:
    """Write ``labelsTr_raters`` of a raw dataset from its ``labelsTr``: a generous, an exact and a strict rater.

    Args:
        dataset: Its folder in nnUNet_raw; files are NIfTI.
        noise: Standard deviation of each boundary in voxels.
        missing: Share of the cases that lack one rater, drawn for each case; but each rater has the first case.
        seed: Equal seeds write equal maps.
        ignore: The dataset's ignore label.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from nnunet_ext import write_phantom_dataset
        >>> with TemporaryDirectory() as raw:
        ...     folder = write_phantom_dataset(Path(raw), "Dataset999_Phantom", cases=1, shape=(12, 24, 24))
        ...     write_phantom_raters(folder)
        ...     sorted(file.relative_to(folder).as_posix() for file in (folder / "labelsTr_raters").rglob("*.nii.gz"))
        ['labelsTr_raters/exact/case_000.nii.gz', 'labelsTr_raters/generous/case_000.nii.gz', \
'labelsTr_raters/strict/case_000.nii.gz']
    """
    for number, file in enumerate(sorted((dataset / "labelsTr").glob("*.nii.gz"))):
        rng = np.random.default_rng((seed, number))
        absent = list(RATERS)[rng.integers(len(RATERS))] if rng.random() < missing and number else None
        stored = nibabel.load(file)
        truth = np.asarray(stored.dataobj).astype(np.uint8)
        for rater, shift in RATERS.items():
            drawn = drawn_by(truth, shift, noise, rng, ignore)
            if rater != absent:
                place = dataset / "labelsTr_raters" / rater / file.name
                place.parent.mkdir(parents=True, exist_ok=True)
                nibabel.save(nibabel.Nifti1Image(drawn, stored.affine), place)
