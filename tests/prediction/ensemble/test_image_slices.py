"""Slices on the image's grid: nnU-Net's resampled logits, whatever the slabs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg

from nnunet_ext.prediction.ensemble.image_slices import image_slices


@pytest.mark.parametrize("target", [(5, 7, 6), (9, 11, 10), (3, 4, 13), (1, 5, 5)], ids=str)
@pytest.mark.parametrize("separate_axis", [None, 0, 2], ids=str)
@pytest.mark.parametrize("slab", [1, 2, 5])
def test_the_logits_of_nnunet(target: tuple[int, int, int], separate_axis: int | None, slab: int) -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 5, 7, 6)))
    memory = torch.empty(3, slab, 7, 6, dtype=logits.dtype)

    def slabs():
        for part in logits.split(slab, 1):
            memory[:, : part.shape[1]] = part  # a sliding window uses its memory again
            yield memory[:, : part.shape[1]]

    found = torch.stack([*image_slices(slabs(), (5, 7, 6), target, separate_axis=separate_axis)], 1)
    expected = resample_data_or_seg(logits.numpy(), target, False, separate_axis, 1, separate_axis is not None, 0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


def test_half_is_resampled_in_float_and_rounded_once() -> None:
    logits = torch.tensor([0.1, 1000.0]).half().reshape(1, 1, 1, 2)
    (found,) = image_slices([logits], (1, 1, 2), (1, 1, 4))
    low, high = logits.flatten().double().tolist()
    expected = torch.tensor([low, 0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high, high]).half()
    assert found.dtype == torch.half
    assert found.flatten().tolist() == expected.tolist()


def test_missing_slices() -> None:
    with pytest.raises(ValueError, match="expected 3 slices of logits, found 2"):
        list(image_slices([torch.zeros(1, 2, 1, 1)], (3, 1, 1), (3, 1, 1)))
