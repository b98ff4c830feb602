"""Metrics of two masks, worked out by hand, and what counts where masks are empty."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.mask_metrics import DICE, EmptyRule, MaskPair, Metric, diagonal, parse_metrics, surface_dice

pytestmark = pytest.mark.smoke
SPACING = (2.0, 1.0, 0.5)
ALL = "dice,hd95,hd95_area,nsd@2mm"


def mask(*places: Any, shape: tuple[int, ...] = (5, 6, 7)) -> NDArray[np.bool_]:
    found = np.zeros(shape, bool)
    for place in places:
        found[place] = True
    return found


def never(pair: MaskPair) -> float:
    raise AssertionError("the metric was computed although a mask is empty")


def values(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> dict[str, float | None]:
    pair = MaskPair(prediction, reference, SPACING)
    return {each.name: each.value(pair, EmptyRule(None, -1.0)) for each in parse_metrics(ALL)}


def test_two_voxels_in_a_row_and_the_second_and_third_of_it() -> None:
    found = values(mask((1, 2, slice(2, 4))), mask((1, 2, slice(3, 5))))
    assert found["dice"] == 0.5
    assert found["hd95"] == pytest.approx(0.5)  # distances 0.5, 0 and 0, 0.5
    assert found["hd95_area"] == 0.5
    assert found["nsd@2mm"] == 1.0


def test_the_definitions_of_hd95_differ() -> None:
    """Reference: a voxel. Prediction: the same and nine beside it, 1 to 9 steps of 0.5 mm."""
    shape = (3, 3, 14)
    prediction, reference = mask((1, 1, slice(1, 11)), shape=shape), mask((1, 1, 1), shape=shape)
    found = values(prediction, reference)
    assert found["hd95"] == pytest.approx(0.5 * float(np.percentile([0, *range(10)], 95)), abs=1e-12)
    assert found["hd95_area"] == 4.5


def test_the_order_of_the_axes_of_the_voxel_size() -> None:
    pair = MaskPair(mask((1, 1, 1)), mask((2, 1, 1)), SPACING)
    rule = EmptyRule(None, 0.0)
    assert surface_dice(1.99).value(pair, rule) == pytest.approx(0.5, abs=1e-12)
    assert surface_dice(2.0).value(pair, rule) == 1.0


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [(mask(), mask(), 0.25), (mask((1, 1, 1)), mask(), 0.75), (mask(), mask((1, 1, 1)), 0.75)],
)
def test_the_rule_counts_where_masks_are_empty(prediction: Any, reference: Any, expected: float) -> None:
    pair = MaskPair(prediction, reference, SPACING)
    metric = Metric("any", "any", True, never)
    assert metric.value(pair, EmptyRule(0.25, 0.75)) == expected


def test_a_rule_may_leave_out_or_compute() -> None:
    metric = Metric("any", "any", False, never)
    assert metric.value(MaskPair(mask(), mask(), SPACING), EmptyRule(None, 0.0)) is None
    one = MaskPair(mask(), mask((1, 1, 1)), SPACING)
    assert metric.value(one, EmptyRule(None, diagonal)) == pytest.approx(math.sqrt(8**2 + 5**2 + 3**2), abs=1e-12)


def test_the_diagonal_of_a_2d_image_leaves_out_the_axis_of_one_voxel() -> None:
    flat = MaskPair(mask(shape=(1, 4, 5)), mask(shape=(1, 4, 5)), (999.0, 1.0, 1.0))
    assert diagonal(flat) == 5.0


def test_a_part_of_an_image() -> None:
    """The diagonal is the image's, and a mask finds its place again."""
    box = (slice(0, 3), slice(1, 4), slice(2, 5))
    one, other = mask((1, 2, 3)), mask()
    pair = MaskPair(one[box], other[box], (1.0, 1.0, 1.0), one.shape, box)
    assert (pair.whole(pair.prediction) == one).all()
    assert diagonal(pair) == pytest.approx(math.sqrt(4**2 + 5**2 + 6**2), abs=1e-12)
    assert MaskPair(one, other, (1.0, 1.0, 1.0)).whole(one) is one


def test_a_thin_structure_in_a_3d_image_has_a_surface() -> None:
    """A plate of 1 x 3 x 3 voxels of 1 mm: 8 corners, 8 edges along each of two axes, 4 faces above and 4 below."""
    plate = mask((2, slice(1, 4), slice(1, 4)))
    found = MaskPair(plate, plate, (1.0, 1.0, 1.0)).distances.reference_areas.sum()
    assert found == pytest.approx(math.sqrt(3) + 16 * math.sqrt(2) / 2 + 8, abs=1e-9)


def test_a_2d_image_is_measured_by_contours() -> None:
    shape = (1, 5, 6)
    pair = MaskPair(mask((0, 1, 1), shape=shape), mask((0, 1, 2), shape=shape), (999.0, 3.0, 4.0))
    assert pair.distances.reference_areas.sum() == pytest.approx(10.0, abs=1e-12)
    assert surface_dice(4.0).value(pair, EmptyRule(None, 0.0)) == 1.0


def test_metrics_by_name() -> None:
    found = parse_metrics("nsd@1.5, Dice,hd95,NSD@2mm,hd95_area")
    assert [each.name for each in found] == ["nsd@1.5mm", "dice", "hd95", "nsd@2mm", "hd95_area"]
    assert [each.larger_is_better for each in found] == [True, True, False, True, False]
    assert [each.needs_surface_distance for each in found] == [True, False, False, True, True]
    assert found[1] == DICE
    assert "pooled" in found[2].definition
    assert "area" in found[4].definition
    assert surface_dice(1.0330772532390826).name == "nsd@1.0330772532390826mm"


@pytest.mark.parametrize("word", ["nsd", "nsd@0", "nsd@-1mm", "hd", "", "nsd@2cm"])
def test_unknown_metrics(word: str) -> None:
    with pytest.raises(UserError, match=r"expected metrics from dice, hd95, hd95_area, nsd@TOLERANCEmm"):
        parse_metrics(f"dice,{word}")


def test_a_metric_twice() -> None:
    with pytest.raises(UserError, match="found one twice"):
        parse_metrics("nsd@2,dice,nsd@2mm")
