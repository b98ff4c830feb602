"""Distances between the surfaces of two masks, each surface element with its area, by DeepMind's surface-distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AREA_HD95 = (
    "of each direction, the distance that 95 % of the surface's area does not exceed; the larger of both, in mm "
    "(surface-distance, DeepMind)"
)


@dataclass(frozen=True)
class SurfaceDistances:
    """Surface elements of two masks; of each its area and its distance to the nearest element of the other mask.

    Args:
        from_reference: Distances in mm of the reference's elements, ascending.
        from_prediction: Distances in mm of the prediction's elements, ascending.
        reference_areas: mm² of the reference's elements, in the order of ``from_reference``; mm of contour in 2d.
        prediction_areas: The same of the prediction's elements.
    """

    from_reference: NDArray[np.float64]
    from_prediction: NDArray[np.float64]
    reference_areas: NDArray[np.float64]
    prediction_areas: NDArray[np.float64]

    def surface_dice(self, tolerance: float) -> float:
        """Return the share of both surfaces' area that is within a distance of the other surface.

        This is the normalized surface distance (NSD), also called surface Dice.

        Args:
            tolerance: In mm; a distance that equals it counts as within.
        """
        within = self.reference_areas[self.from_reference <= tolerance].sum()
        within += self.prediction_areas[self.from_prediction <= tolerance].sum()
        return float(within / (self.reference_areas.sum() + self.prediction_areas.sum()))

    def hausdorff_95(self) -> float:
        """Return the 95 % Hausdorff distance in mm by area, the larger of both directions."""
        return max(
            _percentile(self.from_reference, self.reference_areas),
            _percentile(self.from_prediction, self.prediction_areas),
        )


def surface_distances(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float]
) -> SurfaceDistances:
    """Measure the distances between the surfaces of two masks.

    Args:
        prediction: Mask (D, H, W), or (H, W) of a 2d image.
        reference: Mask of the same shape.
        spacing: Voxel size in mm, same axis order.

    Raises:
        ValueError: A mask is empty, so that it has no surface, or the shapes differ.

    Example:
        >>> import numpy as np
        >>> one, other = np.zeros((2, 5, 5, 5), bool)
        >>> one[1:3, 1:3, 1:3] = other[2:4, 1:3, 1:3] = True
        >>> surface_distances(one, other, (2.0, 1.0, 1.0)).surface_dice(tolerance=2.0)
        1.0
    """
    from surface_distance import compute_surface_distances

    if prediction.shape != reference.shape or len(spacing) != prediction.ndim:
        raise ValueError(
            f"expected two masks of one shape and a voxel size for each axis, got {prediction.shape}, "
            f"{reference.shape} and {tuple(spacing)}"
        )
    if not (prediction.any() and reference.any()):
        raise ValueError("expected two masks with at least one voxel each, got an empty one")
    found = compute_surface_distances(reference, prediction, [float(step) for step in spacing])
    return SurfaceDistances(
        found["distances_gt_to_pred"],
        found["distances_pred_to_gt"],
        found["surfel_areas_gt"],
        found["surfel_areas_pred"],
    )


def _percentile(distances: NDArray[np.float64], areas: NDArray[np.float64]) -> float:
    place = int(np.searchsorted(np.cumsum(areas) / areas.sum(), 0.95))
    return float(distances[min(place, len(distances) - 1)])
