"""Gaps of logits, against logits that nnU-Net's own functions resample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_ext.prediction.parity.logit_gap import LogitGap

STEP = 2.0**-8  # of fp16 between 4 and 8
SETTINGS = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
KINDS: dict[str, dict[str, Any]] = {
    "cropped": {"box": [[1, 8], [0, 9], [2, 12]]},
    "transposed": {"transpose": [2, 0, 1]},
    "thick slices": {"spacing": [5.0, 0.8, 0.9]},
    "thick, transposed, cropped": {"spacing": [0.8, 0.9, 5.0], "transpose": [2, 0, 1], "box": [[0, 5], [1, 9], [2, 8]]},
    "2d": {"planned": [1.1, 1.2], "grid": (9, 6, 7), "spacing": [5.0, 0.8, 0.9]},
    "2d, thick columns": {"planned": [1.1, 4.0], "grid": (9, 6, 7), "spacing": [4.5, 0.9, 3.5]},
    "nearest": {"settings": SETTINGS | {"order": 0}},
    "nothing to resample": {"grid": (9, 10, 12)},
    "one slice": {"grid": (1, 6, 7), "shape": (1, 10, 12)},
}


def gap_and_logits(
    labels: LabelManager,
    *,
    shape: tuple[int, ...] = (9, 10, 12),  # of the image, in the plans' order
    grid: tuple[int, ...] = (5, 6, 7),
    box: list[list[int]] | None = None,
    spacing: list[float] | None = None,  # as read
    planned: list[float] | None = None,
    transpose: list[int] | None = None,
    settings: dict[str, Any] | None = None,
) -> tuple[LogitGap, np.ndarray]:
    """A gap and, as nnU-Net resamples them, logits (heads, D, H, W) of the image as it was read; NaN if cropped."""
    forward = transpose or [0, 1, 2]
    backward = [forward.index(axis) for axis in range(3)]
    plans = PlansManager({"transpose_forward": forward, "transpose_backward": backward})
    configuration = ConfigurationManager(
        {
            "spacing": planned or [2.0, 1.0, 1.0],
            "architecture": {},
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
            "resampling_fn_probabilities_kwargs": settings or SETTINGS,
        }
    )
    box = box or [[0, size] for size in shape]
    rng = np.random.default_rng(0)
    logits = rng.uniform(4, 7.9, (labels.num_segmentation_heads, *grid)).astype(np.float16)
    if labels.has_regions:
        logits *= rng.choice([-1, 1], logits.shape)
    spacing = spacing or [1.5, 1.2, 1.1]
    properties = {"spacing": spacing, "shape_before_cropping": shape, "bbox_used_for_cropping": box}
    steps = [spacing[axis] for axis in forward]
    whole = np.full((len(logits), *shape), np.nan)
    inside = tuple(slice(*ends) for ends in box)
    current = configuration.spacing if len(configuration.spacing) == 3 else [steps[0], *configuration.spacing]
    whole[(slice(None), *inside)] = configuration.resampling_fn_probabilities(
        logits.astype(np.float64), [end - start for start, end in box], current, steps
    )
    whole = whole.transpose([0, *(axis + 1 for axis in backward)])
    return LogitGap(logits, properties, plans, configuration, labels), whole


@pytest.mark.parametrize("kind", KINDS)
def test_classes(kind):
    gap, whole = gap_and_logits(LabelManager({"background": 0, "a": 1, "b": 2}, None), **KINDS[kind])
    flat = whole.reshape(len(whole), -1)
    for voxel in np.flatnonzero(np.isfinite(flat[0]))[::17].tolist():
        found = gap.largest(np.array([voxel]), np.array([2]), np.array([1]))
        assert found * STEP == pytest.approx(abs(flat[2, voxel] - flat[1, voxel]), abs=1e-9)
    voxels = np.flatnonzero(np.isfinite(flat[0]))
    first, second = np.full(len(voxels), 0), np.arange(len(voxels)) % 2 + 1
    largest = np.abs(flat[first, voxels] - flat[second, voxels]).max()
    assert gap.largest(voxels, first, second) * STEP == pytest.approx(largest, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("first", "second", "region"), [(0, 1, 1), (7, 0, 0), (7, 4, 2), (4, 1, 2), (1, 7, 1)])
def test_regions(kind, first, second, region):
    """Of two labels, the region that is painted later is on in one map and off in the other."""
    labels = LabelManager({"background": 0, "a": [7, 1, 4], "b": [1, 4], "c": [4, 9]}, [7, 1, 4])
    gap, whole = gap_and_logits(labels, **KINDS[kind])
    flat = whole.reshape(len(whole), -1)
    voxel = int(np.flatnonzero(np.isfinite(flat[0]))[29])
    found = gap.largest(np.array([voxel]), np.array([first]), np.array([second]))
    assert found > 0
    assert found * STEP == pytest.approx(abs(flat[region, voxel]), abs=1e-9)


def test_a_step_is_that_of_the_largest_logit_that_is_read():
    gap, _ = gap_and_logits(LabelManager({"background": 0, "a": 1}, None), grid=(1, 1, 2), shape=(1, 1, 4))
    gap.logits[:, 0, 0] = [[2, 1], [100, 1.5]]
    # at the ends only one logit is read
    one, other = (gap.largest(np.array([voxel]), np.array([0]), np.array([1])) for voxel in (3, 2))
    assert one == 0.5 / np.spacing(np.float16(1.5))
    assert other == pytest.approx(abs(0.25 * (2 - 100) + 0.75 * (1 - 1.5)) / np.spacing(np.float16(100)))
    assert gap.largest(np.array([2]), np.array([1]), np.array([0])) == other


@pytest.mark.parametrize(("first", "second"), [(3, 0), (0, 3)])
def test_a_label_without_logits(first, second):
    gap, _ = gap_and_logits(LabelManager({"background": 0, "a": 1, "b": 2}, None))
    assert gap.largest(np.array([5]), np.array([first]), np.array([second])) == np.inf
    labels = LabelManager({"background": 0, "a": [1, 2], "b": [5]}, [1, 5])
    gap, _ = gap_and_logits(labels)
    assert gap.largest(np.array([5]), np.array([first]), np.array([second])) == np.inf


@pytest.mark.parametrize("place", [(0, 3, 3), (8, 3, 3)])
def test_a_voxel_that_was_cropped(place):
    box = [[1, 8], [0, 10], [0, 12]]
    gap, _ = gap_and_logits(LabelManager({"background": 0, "a": 1}, None), box=box)
    voxel = np.ravel_multi_index(place, (9, 10, 12))
    assert gap.largest(np.array([voxel]), np.array([1]), np.array([0])) == np.inf
