"""KiPA22: Hausdorff distances of contours at 1 mm, worked out by hand; the border replaces an empty mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nnunet_ext.challenges.kipa22 import average_hausdorff, hausdorff, kipa22
from nnunet_ext.evaluation.mask_metrics import MaskPair

pytestmark = pytest.mark.smoke


def mask(*places: Any, shape: tuple[int, ...] = (5, 5, 9)) -> np.ndarray:
    found = np.zeros(shape, bool)
    for place in places:
        found[place] = True
    return found


def test_structures_and_columns() -> None:
    challenge = kipa22()
    assert [(each.name, each.labels) for each in challenge.structures] == [
        ("vein", (1,)),
        ("kidney", (2,)),
        ("artery", (3,)),
        ("tumor", (4,)),
    ]
    assert len(challenge.columns) == 12
    assert challenge.columns[3:5] == ("DSC_tumor", "HD_vein")
    assert challenge.columns[-1] == "AVD_tumor"
    assert [each.metric.larger_is_better for each in challenge.structures[0].measures] == [True, False, False]


def test_distances_of_both_directions() -> None:
    """Voxels at 1 and 3 mm, and at 1 and 6: 0 and 2 mm to the nearest, and 0 and 3 mm; the mean of 1 and 1.5 mm."""
    pair = MaskPair(mask((2, 2, 1), (2, 2, 3)), mask((2, 2, 1), (2, 2, 6)), (1.0, 1.0, 1.0))
    assert hausdorff(pair) == pytest.approx(3.0, abs=1e-6)
    assert average_hausdorff(pair) == pytest.approx(1.25, abs=1e-6)


def test_only_contours_count() -> None:
    """From the middle of a cube of 5 voxels, the nearest corner of its contour is sqrt(12) mm away, the face 2 mm."""
    cube = mask((slice(1, 6), slice(1, 6), slice(1, 6)), shape=(7, 7, 7))
    hollow = cube.copy()
    hollow[3, 3, 3] = False
    voxel = mask((3, 3, 3), shape=(7, 7, 7))
    assert hausdorff(MaskPair(voxel, cube, (1.0, 1.0, 1.0))) == pytest.approx(12**0.5, abs=1e-6)
    # the six voxels around the hole are contour, too, and 1 mm from the contour of the cube
    assert hausdorff(MaskPair(cube, hollow, (1.0, 1.0, 1.0))) == pytest.approx(1.0, abs=1e-6)
    mean = average_hausdorff(MaskPair(cube, hollow, (1.0, 1.0, 1.0)))
    assert mean == pytest.approx((0 + 6 / (98 + 6)) / 2, abs=1e-6)


def test_masks_are_resampled_to_1_mm() -> None:
    """Two steps of 2 mm apart; without the resampling, or in the wrong axis, it would be 2 mm."""
    shape = (3, 3, 9)
    pair = MaskPair(mask((1, 1, 2), shape=shape), mask((1, 1, 4), shape=shape), (1.0, 1.0, 2.0))
    assert hausdorff(pair) == pytest.approx(4.0, abs=1e-6)


def test_the_size_of_the_resampled_image_is_rounded() -> None:
    """Five voxels of 0.75 mm are 4 mm; with 3 mm, the last voxel would be outside, and the border would replace it."""
    shape = (3, 3, 5)
    pair = MaskPair(mask((1, 1, 4), shape=shape), mask((1, 1, 0), shape=shape), (1.0, 1.0, 0.75))
    assert hausdorff(pair) == pytest.approx(3.0, abs=1e-6)


def test_the_border_replaces_an_empty_mask() -> None:
    """A voxel in the middle of 5 x 5 x 9: the nearest border is 2 mm away, the farthest corner sqrt(4 + 4 + 16) mm."""
    voxel, empty = mask((2, 2, 4)), mask()
    pair = MaskPair(empty, voxel, (1.0, 1.0, 1.0))
    assert hausdorff(pair) == pytest.approx(24**0.5, abs=1e-6)
    measures = {each.column: each for each in kipa22().structures[0].measures}
    assert measures["HD_vein"].metric.value(pair, measures["HD_vein"].empty) == pytest.approx(24**0.5, abs=1e-6)
    assert measures["DSC_vein"].metric.value(pair, measures["DSC_vein"].empty) == 0.0
    nothing = MaskPair(empty, empty, (1.0, 1.0, 1.0))
    assert [each.metric.value(nothing, each.empty) for each in measures.values()] == [None, None, None]
    swapped = MaskPair(voxel, empty, (1.0, 1.0, 1.0))
    assert measures["AVD_vein"].metric.value(swapped, measures["AVD_vein"].empty) == average_hausdorff(pair)


def test_the_border_replaces_a_contour_that_is_outside_the_image() -> None:
    """A mask that fills the image has no contour voxel, for which SimpleITK raises an error."""
    full, voxel = mask((slice(None),)), mask((2, 2, 4))
    assert hausdorff(MaskPair(full, voxel, (1.0, 1.0, 1.0))) == pytest.approx(24**0.5, abs=1e-6)
    assert hausdorff(MaskPair(full, full, (1.0, 1.0, 1.0))) == 0
