"""Surface distances worked out by hand, and equality with MONAI and DeepMind's own functions.

Of a box of voxels with the face areas A, B, C (across axis 0, 1, 2), a corner's surface element has the area
sqrt(A² + B² + C²) / 8, an edge's along axis 2 sqrt(A² + B²) / 2, and a face's A.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import surface_distance
import torch
from monai.metrics import compute_surface_dice
from numpy.typing import NDArray

from nnunet_ext.evaluation.surface_distances import surface_distances

pytestmark = pytest.mark.smoke
Mask = NDArray[np.bool_]


def mask(shape: Sequence[int], *places: Any) -> Mask:
    found = np.zeros(shape, bool)
    for place in places:
        found[place] = True
    return found


def random_masks(seed: int) -> tuple[Mask, Mask]:
    rng = np.random.default_rng(seed)
    one, other = np.zeros((2, 11, 12, 13), bool)
    one[2:8, 3:9, 2:10] = rng.random((6, 6, 8)) < 0.6
    other[3:9, 2:9, 3:10] = rng.random((6, 7, 7)) < 0.6
    return one, other


def test_one_voxel_has_the_area_of_its_eight_corners() -> None:
    voxel = mask((3, 3, 3), (1, 1, 1))
    found = surface_distances(voxel, voxel, (3.0, 1.0, 2.0))  # faces of 2, 6 and 3 mm²
    assert found.reference_areas.sum() == pytest.approx(7.0, abs=1e-12)
    assert found.prediction_areas.tolist() == pytest.approx([7 / 8] * 8, abs=1e-12)
    assert (found.from_reference == 0).all()
    assert found.surface_dice(0.0) == 1.0
    assert found.hausdorff_95() == 0.0


def test_a_distance_that_equals_the_tolerance_is_within() -> None:
    """Two voxels that share a face: four corners coincide, four are a voxel apart."""
    found = surface_distances(mask((4, 3, 3), (1, 1, 1)), mask((4, 3, 3), (2, 1, 1)), (2.5, 1.0, 1.0))
    assert found.surface_dice(2.5) == 1.0
    assert found.surface_dice(2.4999) == pytest.approx(0.5, abs=1e-12)
    assert found.hausdorff_95() == 2.5


def test_shifted_cubes_with_anisotropic_spacing() -> None:
    """Cubes of 2 x 2 x 2 voxels, one voxel (3 mm) apart along axis 0."""
    one, other = np.zeros((2, 6, 6, 6), bool)
    one[1:3, 2:4, 2:4] = other[2:4, 2:4, 2:4] = True
    found = surface_distances(one, other, (3.0, 1.0, 2.0))
    total = 7 + 2 * (math.sqrt(40) + math.sqrt(13) + math.sqrt(45)) + 2 * (2 + 6 + 3)
    beyond = 4 * 7 / 8 + math.sqrt(40) + math.sqrt(13) + 2  # 3 mm away
    inside = 2  # the middle of the opposite face, 1 mm from the other's edge of axis 2
    assert found.reference_areas.sum() == pytest.approx(total, abs=1e-9)
    for tolerance, expected in ((0, total - beyond - inside), (1, total - beyond), (2.99, total - beyond), (3, total)):
        assert found.surface_dice(tolerance) == pytest.approx(expected / total, abs=1e-9)
    assert found.hausdorff_95() == 3.0


def test_the_two_directions_have_areas_of_their_own() -> None:
    """The prediction has a second voxel, 8 mm away: half of its area is far, the reference's is not."""
    reference = mask((3, 3, 13), (1, 1, 1))
    found = surface_distances(mask((3, 3, 13), (1, 1, 1), (1, 1, 10)), reference, (1.0, 1.0, 1.0))
    area = math.sqrt(3)
    assert found.prediction_areas.sum() == pytest.approx(2 * area, abs=1e-12)
    assert found.surface_dice(7.0) == pytest.approx((area + area) / (3 * area), abs=1e-9)
    # the far voxel's corners are 8 and 9 mm from the near one's
    assert found.surface_dice(8.0) == pytest.approx((area + 1.5 * area) / (3 * area), abs=1e-9)
    assert found.hausdorff_95() == 9.0
    assert surface_distances(reference, mask((3, 3, 13), (1, 1, 1), (1, 1, 10)), (1.0, 1.0, 1.0)).hausdorff_95() == 9.0


def test_contours_of_a_2d_image() -> None:
    """A pixel of 3 x 4 mm has a contour of four diagonals of 2.5 mm."""
    found = surface_distances(mask((4, 4), (1, 1)), mask((4, 4), (1, 2)), (3.0, 4.0))
    assert found.reference_areas.sum() == pytest.approx(10.0, abs=1e-12)
    assert found.surface_dice(3.9) == pytest.approx(0.5, abs=1e-12)
    assert found.surface_dice(4.0) == 1.0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.8, 0.7), (0.5, 2.0, 1.3)])
def test_equals_monai_with_subvoxels(seed: int, spacing: tuple[float, ...]) -> None:
    prediction, reference = random_masks(seed)
    found = surface_distances(prediction, reference, spacing)
    tensors = [torch.from_numpy(each)[None, None] for each in (prediction, reference)]
    for tolerance in (0.6, 1.0, 1.7):
        theirs = compute_surface_dice(
            *tensors, class_thresholds=[tolerance], include_background=True, spacing=spacing, use_subvoxels=True
        )
        assert found.surface_dice(tolerance) == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_equals_deepmind(seed: int) -> None:
    prediction, reference = random_masks(seed)
    theirs = surface_distance.compute_surface_distances(reference, prediction, (3.0, 0.8, 0.7))
    found = surface_distances(prediction, reference, (3.0, 0.8, 0.7))
    assert found.surface_dice(1.0) == surface_distance.compute_surface_dice_at_tolerance(theirs, 1.0)
    assert found.hausdorff_95() == surface_distance.compute_robust_hausdorff(theirs, 95)


def test_the_surroundings_do_not_count() -> None:
    one, other = random_masks(9)
    found = surface_distances(one, other, (3.0, 0.8, 0.7))
    box = (slice(2, 9), slice(2, 9), slice(2, 10))
    assert surface_distances(one[box], other[box], (3.0, 0.8, 0.7)).surface_dice(1.0) == found.surface_dice(1.0)


def test_empty_masks_never_reach_the_library() -> None:
    """It fails with an AttributeError (np.Inf) under NumPy 2."""
    empty, voxel = mask((3, 3, 3)), mask((3, 3, 3), (1, 1, 1))
    for pair in ((empty, empty), (empty, voxel), (voxel, empty)):
        with pytest.raises(ValueError, match="at least one voxel each"):
            surface_distances(*pair, (1.0, 1.0, 1.0))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="of one shape"):
        surface_distances(mask((3, 3, 3), (1, 1, 1)), mask((3, 3, 4), (1, 1, 1)), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="a voxel size for each axis"):
        surface_distances(mask((3, 3, 3), (1, 1, 1)), mask((3, 3, 3), (1, 1, 1)), (1.0, 1.0))
