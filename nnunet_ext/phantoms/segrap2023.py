"""Phantoms in the folders of SegRap2023: two contrasts, 45 overlapping organs, two tumor volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from nnunet_ext.phantoms.dataset import write_nifti

SPACING = (3.0, 1.0, 1.0)  # mm, (D, H, W)
CELLS = (4, 4, 4)  # of a grid that has one for each combination of organs and each tumor
CELL = (5, 8, 8)  # voxels


def write_segrap2023_phantoms(
    root: Path, organs: Mapping[str, Sequence[int]], tumors: Mapping[str, Sequence[int]], *, cases: int = 6
) -> Path:
    """Write cases of SegRap2023: a box for each of its combinations of organs, with an intensity of its own.

    Every second case belongs to the patient of the case before, as ``segrap_0000`` and ``segrap_0000_b``.

    Args:
        root: The folder; made if it is missing.
        organs: Numbers of the combinations that each organ is part of, from 1.
        tumors: Number of each tumor volume, from 1.
        cases: Their number.

    Returns:
        The folder.
    """
    last = max(label for labels in organs.values() for label in labels)
    members = {**organs, **{name: [last + label for label in labels] for name, labels in tumors.items()}}
    shape = tuple(count * side for count, side in zip(CELLS, CELL, strict=True))
    for number in range(cases):
        rng = np.random.default_rng((23, number))
        labels = np.zeros(shape, np.uint8)
        for label, cell in enumerate(product(*(range(count) for count in CELLS)), start=1):
            if label <= last + len(tumors):
                sides = [
                    (place * side, place * side + side - int(rng.integers(1, 3)))
                    for place, side in zip(cell, CELL, strict=True)
                ]
                labels[tuple(slice(*side) for side in sides)] = label
        case = root / f"segrap_{number // 2:04d}{'_b' if number % 2 else ''}"
        case.mkdir(parents=True, exist_ok=True)
        for name, contrast in (("image", 1.0), ("image_contrast", 1.4)):
            image = 20 * contrast * labels + rng.normal(0, 20, shape) - 200 * (labels == 0)
            write_nifti(case / f"{name}.nii.gz", image.astype(np.int16), SPACING)
        for name, own in members.items():
            write_nifti(case / f"{name}.nii.gz", np.isin(labels, own).astype(np.uint8), SPACING)
    return root
