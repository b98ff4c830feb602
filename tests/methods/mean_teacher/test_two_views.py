"""The two views lie on one another; only the strong one has other intensities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.methods.mean_teacher.two_views import TwoViews

SIZE = (6, 12, 10)


def stock(*, dummy_2d: bool = False, masked: bool = False):
    """nnU-Net's transforms, each applied at every call."""
    transforms = nnUNetTrainer.get_training_transforms(
        SIZE, (-3.0, 3.0), None, (0, 1, 2), dummy_2d, use_mask_for_norm=[masked, False]
    )
    for transform in transforms.transforms:
        if isinstance(transform, RandomTransform):
            transform.apply_probability = 1
    return transforms


def sample() -> dict[str, torch.Tensor]:
    """Two channels of numbers, and a segmentation whose -1 lies outside of the mask."""
    numbers = torch.arange(2 * np.prod(SIZE), dtype=torch.float32).view(2, *SIZE) / 100 + 1
    segmentation = torch.zeros(1, *SIZE, dtype=torch.int16)
    segmentation[:, :, :3] = -1
    return {"image": numbers, "segmentation": segmentation}


@pytest.mark.parametrize("dummy_2d", [False, True])
def test_the_weak_view_is_the_patch_moved_and_mirrored_alone(dummy_2d):
    torch.manual_seed(0)
    np.random.seed(0)
    views = TwoViews(stock(dummy_2d=dummy_2d))
    out = views(**sample())["image"]
    assert out.shape == (4, *SIZE)
    torch.manual_seed(0)
    np.random.seed(0)
    expected = views.geometry(**sample())["image"]
    assert torch.equal(out[2:], expected)
    assert not torch.allclose(out[:2], out[2:], atol=0.01)


def test_without_intensity_transforms_both_views_are_equal():
    views = TwoViews(stock())
    views.intensity.transforms.clear()
    out = views(**sample())["image"]
    assert torch.equal(out[:2], out[2:])


def test_every_stock_transform_is_in_one_part():
    transforms = stock(masked=True)
    views = TwoViews(transforms)
    parts = [*views.geometry.transforms, *views.intensity.transforms, *views.rest.transforms]
    assert sorted(map(id, parts)) == sorted(map(id, transforms.transforms))
    assert [len(part.transforms) for part in (views.geometry, views.intensity, views.rest)] == [2, 7, 2]


def test_a_mask_is_applied_to_both_views_after_the_intensities():
    torch.manual_seed(1)
    views = TwoViews(stock(masked=True))
    strong, other, weak, _ = views(**sample())["image"]
    outside = weak == 0
    assert 0 < outside.sum() < outside.numel()
    assert not strong[outside].any()
    assert other[outside].any()  # the second channel is normalized without a mask
