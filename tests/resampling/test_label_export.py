"""The label map of logits that arrive in slabs, written into an array of the caller."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from stock_labels import assert_same_labels, stock_labels

from nnunet_ext.resampling.label_export import LabelExport


def logits_of(*shape: int, dtype: str = "float16") -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("depth", [1, 4, 9, 10, 11, 19, 40])
@pytest.mark.parametrize("separate_axis", [None, 0])
@pytest.mark.parametrize("region_labels", [None, [3, 1, 2]])
def test_slabs_of_any_depth_whose_memory_is_overwritten(depth, separate_axis, region_labels):
    rng = np.random.default_rng(depth)
    logits = logits_of(3, 10, 7, 8)
    labels = np.zeros((depth, 9, 6), dtype=np.int16)
    how = {"separate_axis": separate_axis, "region_labels": region_labels}
    export = LabelExport((10, 7, 8), labels, **how)
    start = 0
    while start < 10:
        slab = torch.from_numpy(logits[:, start : start + int(rng.integers(0, 5))].copy())
        export.add(slab)
        start += slab.shape[1]
        slab.fill_(float("nan"))
    export.finish()
    assert assert_same_labels(labels, *stock_labels(logits, labels.shape, **how), region_labels) <= 2


def test_a_slice_is_written_as_soon_as_its_logits_are_there():
    logits, labels = torch.from_numpy(logits_of(3, 4, 5, 6)) + 9, np.full((8, 5, 6), 7, dtype=np.uint8)
    export = LabelExport((4, 5, 6), labels)
    for slices, complete in ((1, 1), (2, 3), (3, 5), (4, 8)):
        export.add(logits[:, slices - 1 : slices])
        assert ((labels != 7).all((1, 2)).tolist()) == [True] * complete + [False] * (8 - complete)


def test_slabs_are_not_kept():
    export = LabelExport((4, 5, 6), np.zeros((8, 5, 6), dtype=np.uint8))
    slab = logits_of(3, 2, 5, 6)
    gone = weakref.ref(slab)
    export.add(torch.from_numpy(slab))
    del slab
    gc.collect()
    assert gone() is None


def test_the_target_may_be_a_view_and_the_rest_of_its_array_stays():
    logits = logits_of(4, 5, 6, 7)
    image = np.full((12, 13, 14), 99, dtype=np.uint16)
    view = image.transpose(2, 0, 1)[2:10, 3:12, ::-1][:, :, 2:8]
    export = LabelExport((5, 6, 7), view)
    export.add(torch.from_numpy(logits))
    export.finish()
    assert_same_labels(view, *stock_labels(logits, (8, 9, 6)))
    assert (image == 99).sum() == image.size - view.size


def test_missing_slices():
    export = LabelExport((4, 5, 6), np.zeros((2, 5, 6), dtype=np.uint8))
    export.add(torch.zeros(3, 3, 5, 6))
    with pytest.raises(ValueError, match="expected 4 slices of logits, found 3"):
        export.finish()


@pytest.mark.parametrize(
    ("slab", "message"),
    [
        (torch.zeros(3, 4, 5, 6), "expected 4 slices, found 5"),
        (torch.zeros(3, 1, 6, 5), r"expected a slab \(heads, d, H, W\) of \(4, 5, 6\), found \(3, 1, 6, 5\)"),
        (torch.zeros(3, 5, 6), r"found \(3, 5, 6\)"),
        (torch.zeros(2, 1, 5, 6), r"first slab \(3, torch.float32, .*found \(2, "),
        (torch.zeros(3, 1, 5, 6).half(), r"found \(3, torch.float16, "),
        (torch.zeros(3, 1, 5, 6).int(), "expected logits of a floating type, found torch.int32"),
    ],
)
def test_slabs_that_do_not_fit(slab, message):
    export = LabelExport((4, 5, 6), np.zeros((2, 5, 6), dtype=np.uint8))
    export.add(torch.zeros(3, 1, 5, 6))
    with pytest.raises(ValueError, match=message):
        export.add(slab)


def test_every_region_has_a_head():
    export = LabelExport((4, 5, 6), np.zeros((2, 5, 6), dtype=np.uint8), region_labels=[1, 2])
    with pytest.raises(ValueError, match=r"expected a slab \(2, d, H, W\)"):
        export.add(torch.zeros(3, 1, 5, 6))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": 3}, "found 3 and 0"),
        ({"separate_axis": 0, "order_z": 3}, "found 1 and 3"),
        ({"separate_axis": 3}, "expected None, 0, 1 or 2, found 3"),
        ({"source": (4, 5)}, r"found \(4, 5\)"),
        ({"source": (4, 0, 6)}, r"found \(4, 0, 6\)"),
    ],
)
def test_what_cannot_be_exported(arguments, message):
    with pytest.raises(ValueError, match=message):
        LabelExport(**{"source": (4, 5, 6), "target": np.zeros((2, 5, 6), dtype=np.uint8), **arguments})


def test_order_z_counts_only_along_a_separate_axis():
    LabelExport((4, 5, 6), np.zeros((2, 5, 6), dtype=np.uint8), order_z=3)
