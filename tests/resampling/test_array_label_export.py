"""The label maps of numpy are those of torch, voxel by voxel, which the tests of label_export compare with nnU-Net."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from nnunet_ext.resampling.array_label_export import ArrayLabelExport, _painted
from nnunet_ext.resampling.label_export import LabelExport

SHAPES = [((10, 7, 8), (19, 9, 6)), ((5, 6, 7), (5, 6, 7)), ((9, 12, 5), (4, 20, 11)), ((1, 4, 4), (3, 4, 9))]


def both(logits: np.ndarray, target: tuple[int, ...], depth: int, **how: object) -> list[np.ndarray]:
    found = []
    for kind in (LabelExport, ArrayLabelExport):
        labels = np.full((*target, 2), 99, np.int16)[..., 0]  # a view
        export = kind(logits.shape[1:], labels, **how)
        for start in range(0, logits.shape[1], depth):
            slab = logits[:, start : start + depth].copy()
            export.add(torch.from_numpy(slab) if kind is LabelExport else slab)
            slab.fill(np.nan)
        export.finish()
        found.append(labels)
    return found


@pytest.mark.parametrize(("source", "target"), SHAPES)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("regions", [None, [3, 1, 2, 4]])
def test_as_with_torch(source: tuple[int, ...], target: tuple[int, ...], dtype: str, regions: list[int] | None) -> None:
    logits = np.random.default_rng(0).normal(size=(4, *source)).astype(dtype)
    logits[2, :, :, 3:] = logits[1, :, :, 3:]  # ties
    for order, axis, order_z, depth in itertools.product((0, 1), (None, 0, 1, 2), (0, 1), (1, 3, 50)):
        how = {"order": order, "separate_axis": axis, "order_z": order_z, "region_labels": regions}
        theirs, ours = both(logits, target, depth, **how)
        np.testing.assert_array_equal(ours, theirs, err_msg=str(how))
        assert len(np.unique(ours)) > 2


def test_interpolated_logits_are_rounded_before_they_are_compared() -> None:
    logits = np.random.default_rng(0).normal(100, 0.1, (4, 5, 12, 13)).astype(np.float16)  # in steps of 0.0625
    theirs, ours = both(logits, (7, 23, 30), 2)
    np.testing.assert_array_equal(ours, theirs)


def test_a_nan_wins_and_stays() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 2, 5, 6)).astype(np.float32)
    logits[1, 0, 2], logits[3, 0, 2, 3:] = np.nan, np.nan
    theirs, ours = both(logits, (2, 5, 6), 2)
    np.testing.assert_array_equal(ours, theirs)
    assert (ours[0, 2] == 1).all()


@pytest.mark.parametrize(
    "logits",
    [
        np.arange(1 << 16, dtype=np.uint16).view(np.float16),
        np.linspace(-3e-7, 3e-7, 10001).astype(np.float32),
        np.array([-np.inf, -1e4, -1, 1, np.inf], np.float32),
    ],
    ids=["every logit of fp16", "near 0", "large"],
)
def test_regions_are_painted_as_torch_does(logits: np.ndarray) -> None:
    logits = logits[~np.isnan(logits)]
    np.testing.assert_array_equal(_painted(logits), (torch.sigmoid(torch.from_numpy(logits).float()) > 0.5).numpy())


def test_wrong_slabs() -> None:
    export = ArrayLabelExport((2, 3, 4), np.zeros((2, 3, 4), np.uint8))
    with pytest.raises(ValueError, match="expected logits of float16 or float32, found float64"):
        export.add(np.zeros((2, 1, 3, 4)))
    with pytest.raises(ValueError, match=r"expected a slab \(heads, d, H, W\)"):
        export.add(np.zeros((2, 1, 3, 5), np.float16))
    with pytest.raises(ValueError, match="expected 2 slices, found 3"):
        export.add(np.zeros((2, 3, 3, 4), np.float16))
    with pytest.raises(ValueError, match="expected 2 slices of logits, found 0"):
        export.finish()
