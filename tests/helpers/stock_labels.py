"""Label maps as nnU-Net's own export makes them, and which voxels another export may label otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from numpy.typing import NDArray


def stock_labels(
    logits: NDArray,
    shape: Sequence[int],
    *,
    order: int = 1,
    separate_axis: int | None = None,
    order_z: int = 0,
    region_labels: Sequence[int] | None = None,
) -> tuple[NDArray, NDArray]:
    """nnU-Net's label map (D', H', W'), and the resampled logits (heads, D', H', W') that it is made of."""
    resampled = resample_data_or_seg(logits, shape, False, separate_axis, order, separate_axis is not None, order_z)
    labels: dict[str, int | list[int]] = {"background": 0}
    if region_labels is None:
        labels |= {f"class {number}": number for number in range(1, len(logits))}
    else:
        highest = max(region_labels)
        labels |= {f"region {label}": [label, highest + 1] for label in region_labels}
    manager = LabelManager(labels, region_labels and list(region_labels))
    return np.asarray(manager.convert_logits_to_segmentation(resampled)), resampled


def assert_same_labels(
    labels: NDArray, expected: NDArray, resampled: NDArray, region_labels: Sequence[int] | None = None
) -> int:
    """Assert that labels differ only where rounding decides; return how many voxels do.

    Of classes, the two logits must be within one step of the logits' type, of regions, the logit must be 0. Both may be
    off by the rounding of a sum of float32 (for float64 logits: of float64) numbers as large as the largest logit.
    """
    assert labels.shape == expected.shape
    places = np.nonzero(labels != expected)
    summed = np.float64 if resampled.dtype == np.float64 else np.float32
    peak = 4 * np.finfo(summed).eps * np.abs(resampled).max(initial=0)
    for *place, ours, stock in zip(*places, labels[places], expected[places], strict=True):
        logits = resampled[(slice(None), *place)]
        if region_labels is None:
            one, other = logits[ours], logits[stock]
            step = np.spacing(max(abs(one), abs(other)))
        else:
            order = [0, *region_labels]  # the later of the two regions is painted only once
            one, other = logits[max(order.index(ours), order.index(stock)) - 1], 0.0
            step = 0.0
        assert abs(float(one) - float(other)) <= step + peak, (place, ours, stock, one, other)
    return len(places[0])
