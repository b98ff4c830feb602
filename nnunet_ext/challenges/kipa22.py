"""KiPA22: Dice, Hausdorff and average Hausdorff distance of renal vein, kidney, renal artery and tumor.

The distances are those of SimpleITK between the contour voxels of both masks, after resampling to 1 mm with nearest
neighbours. A structure that a mask lacks is replaced by the image's border. Challenge code:
https://github.com/KiPA2022/kipa22; the size of the resampled image and the contour's connectivity are our reading.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunet_ext.challenges.challenge import Challenge, Measure, Structure, columns_by_metric
from nnunet_ext.evaluation.mask_metrics import DICE, EmptyRule, MaskPair, Metric

LABELS = {"vein": 1, "kidney": 2, "artery": 3, "tumor": 4}
STEP = 1.0  # mm
OF_CONTOURS = "between contour voxels at 1 mm (SimpleITK); the image's border replaces an empty mask; in mm"


def hausdorff(pair: MaskPair) -> float:
    """Return the largest distance from a contour voxel of one mask to the nearest one of the other, in mm.

    Args:
        pair: Masks (D, H, W); at most one is empty.
    """
    return float(_distances(pair).GetHausdorffDistance())


def average_hausdorff(pair: MaskPair) -> float:
    """Return the mean distance in mm from contour voxels of one mask to the nearest of the other, mean of directions.

    Args:
        pair: Masks (D, H, W); at most one is empty.
    """
    return float(_distances(pair).GetAverageHausdorffDistance())


HD = Metric("hd", f"Hausdorff distance {OF_CONTOURS}", False, hausdorff)
AVD = Metric("avd", f"average Hausdorff distance, mean of both directions, {OF_CONTOURS}", False, average_hausdorff)


def kipa22() -> Challenge:
    """Return the challenge.

    Example:
        >>> kipa22().columns[:5]
        ('DSC_vein', 'DSC_kidney', 'DSC_artery', 'DSC_tumor', 'HD_vein')
    """
    structures = tuple(
        Structure(
            name,
            (label,),
            (
                Measure(f"DSC_{name}", DICE, EmptyRule(both=None, one=0.0)),
                Measure(f"HD_{name}", HD, EmptyRule(both=None, one=hausdorff)),
                Measure(f"AVD_{name}", AVD, EmptyRule(both=None, one=average_hausdorff)),
            ),
        )
        for name, label in LABELS.items()
    )
    return Challenge(
        name="kipa22",
        structures=structures,
        columns=columns_by_metric(structures),
        spacing_of="reference",
        missing="what the challenge does is not known",
    )


def _distances(pair: MaskPair) -> Any:
    contours = [_contour(pair.whole(mask), pair.spacing) for mask in (pair.reference, pair.prediction)]
    found = sitk.HausdorffDistanceImageFilter()
    found.Execute(*contours)
    return found


def _contour(mask: NDArray[np.bool_], spacing: tuple[float, ...]) -> Any:
    """The contour voxels at 1 mm; those of the image's border for a mask that is empty there or fills the image."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(step) for step in reversed(spacing)])
    size = [
        max(1, round(length * step / STEP)) for length, step in zip(image.GetSize(), image.GetSpacing(), strict=True)
    ]
    image = sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkNearestNeighbor, image.GetOrigin(), [STEP] * 3, image.GetDirection()
    )
    contour = sitk.GetArrayFromImage(sitk.LabelContour(image))
    if not contour.any():
        contour = np.ones_like(contour)
        contour[tuple(slice(1, -1) for _ in contour.shape)] = 0
    found = sitk.GetImageFromArray(contour)
    found.SetSpacing([STEP] * 3)
    return found
