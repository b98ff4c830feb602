"""Classes and regions."""

from __future__ import annotations

import math

import pytest
import torch
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import nn

from nnunet_ext.semi_supervised.losses import (
    AnnotatedOnly,
    discrepancy,
    gaussian_ramp,
    probabilities,
    split_output,
    target_at,
)

pytestmark = pytest.mark.smoke

LOGITS = torch.tensor([[[[0.0]], [[math.log(3)]]]])


def test_classes():
    torch.testing.assert_close(probabilities(LOGITS, regions=False).flatten(), torch.tensor([0.25, 0.75]))


def test_regions():
    torch.testing.assert_close(probabilities(LOGITS, regions=True).flatten(), torch.tensor([0.5, 0.75]))


def test_half_precision_is_left_before_the_exponential():
    found = probabilities(torch.tensor([[[[12.0]], [[0.0]]]], dtype=torch.float16), regions=False)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[0, 1, 0, 0], torch.tensor(1 / (1 + math.exp(12))))


def voxel(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities).view(1, -1, 1, 1)


def test_two_classes_are_the_mean_over_both_channels():
    """0.9, 0.1 against 0.6, 0.4: (0.3^2 + 0.3^2) / 2."""
    assert discrepancy(voxel(0.9, 0.1), voxel(0.6, 0.4), regions=False).item() == pytest.approx(0.09)


def test_further_classes_do_not_shrink_it():
    assert discrepancy(voxel(0.9, 0.1, 0, 0), voxel(0.6, 0.4, 0, 0), regions=False).item() == pytest.approx(0.09)


def test_one_region_has_the_value_of_two_classes_and_several_their_mean():
    assert discrepancy(voxel(0.9), voxel(0.6), regions=True).item() == pytest.approx(0.09)
    assert discrepancy(voxel(0.9, 0.5), voxel(0.6, 0.4), regions=True).item() == pytest.approx((0.09 + 0.01) / 2)


def test_mean_over_samples_and_voxels():
    first = torch.cat((voxel(1, 0), voxel(0, 1), voxel(1, 0), voxel(1, 0)))
    second = torch.cat((voxel(1, 0), voxel(1, 0), voxel(1, 0), voxel(0.5, 0.5)))
    assert discrepancy(first, second, regions=False).item() == pytest.approx((1 + 0.25) / 4)


def test_gradients_reach_both():
    first, second = voxel(0.9, 0.1).requires_grad_(), voxel(0.6, 0.4).requires_grad_()
    discrepancy(first, second, regions=False).backward()
    torch.testing.assert_close(first.grad, voxel(0.3, -0.3))
    torch.testing.assert_close(second.grad, voxel(-0.3, 0.3))


@pytest.mark.parametrize(
    ("step", "length", "expected"),
    [(0, 10, 0.006737947), (5, 10, 0.2865048), (10, 10, 1), (11, 10, 1), (0, 0, 1), (3, 7.5, 0.1652989)],
)
def test_values(step, length, expected):
    assert gaussian_ramp(step, length) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.int16, torch.bool])
def test_as_nnunet_does(dtype):
    target = torch.randint(0, 2 if dtype == torch.bool else 5, (2, 3, 4, 7, 6), generator=torch.manual_seed(0)).to(
        dtype
    )
    transform = DownsampleSegForDSTransform([[1, 1, 1], [1, 0.5, 0.5], [0.5, 0.25, 1 / 3]])
    for sample in target:
        for scale in transform(segmentation=sample)["segmentation"]:
            found = target_at(sample[None], scale.shape[1:])[0]
            assert found.dtype == dtype
            assert torch.equal(found, scale)


def test_of_two_the_second():
    assert target_at(torch.tensor([[[[1, 2, 3, 4]]]]), (1, 2)).tolist() == [[[[2, 4]]]]


OUTPUT = torch.arange(5.0).view(5, 1, 1, 1)
TARGET = torch.zeros(2, 1, 1, 1)


def test_one_scale():
    labelled, unlabelled = split_output(OUTPUT, TARGET)
    assert labelled.flatten().tolist() == [0, 1]
    assert unlabelled.flatten().tolist() == [2, 3, 4]


def test_scales():
    labelled, unlabelled = split_output([OUTPUT, 10 * OUTPUT], [TARGET, TARGET])
    assert [scale.flatten().tolist() for scale in labelled] == [[0, 1], [0, 10]]
    assert [scale.flatten().tolist() for scale in unlabelled] == [[2, 3, 4], [20, 30, 40]]


def test_no_unlabelled_sample():
    labelled, unlabelled = split_output(OUTPUT[:2], TARGET)
    assert len(labelled) == 2
    assert len(unlabelled) == 0


IGNORE = 2
DICE = {"batch_dice": False, "smooth": 1e-5, "ddp": False}


def stock_loss(regions: bool) -> nn.Module:
    if regions:
        return DC_and_BCE_loss({}, DICE, use_ignore_label=True, dice_class=MemoryEfficientSoftDiceLoss)
    return DC_and_CE_loss(DICE | {"do_bg": False}, {}, ignore_label=IGNORE, dice_class=MemoryEfficientSoftDiceLoss)


def samples(regions: bool, annotated: list[bool]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and a target of which whole samples and a part of the others are ignored."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(len(annotated), 2, 3, 4, 5, generator=generator)
    target = torch.randint(0, 2, (len(annotated), 1, 3, 4, 5), generator=generator)
    target[:, :, :, :1] = IGNORE
    for sample, has_labels in zip(target, annotated, strict=True):
        if not has_labels:
            sample[:] = IGNORE
    if regions:
        target = torch.cat((target == 1, target == 0, target == IGNORE), 1)
    return logits.requires_grad_(), target


@pytest.mark.parametrize("regions", [False, True])
def test_the_loss_of_the_others(regions):
    annotated = [True, False, True]
    logits, target = samples(regions, annotated)
    stock = stock_loss(regions)
    loss = AnnotatedOnly(stock, None if regions else IGNORE)(logits, target)
    torch.testing.assert_close(loss, stock(logits[[0, 2]], target[[0, 2]]))
    assert (loss - stock(logits, target)).abs() > 0.05  # what stock makes of it
    loss.backward()
    assert not logits.grad[1].any()
    assert logits.grad[[0, 2]].any()


@pytest.mark.parametrize("regions", [False, True])
def test_with_annotations_everywhere_it_is_stocks(regions):
    logits, target = samples(regions, [True, True])
    stock = stock_loss(regions)
    assert torch.equal(AnnotatedOnly(stock, None if regions else IGNORE)(logits, target), stock(logits, target))


@pytest.mark.parametrize("regions", [False, True])
def test_without_any_annotation_it_is_0_with_a_gradient_of_0(regions):
    logits, target = samples(regions, [False, False])
    loss = AnnotatedOnly(stock_loss(regions), None if regions else IGNORE)(logits, target)
    assert loss == 0
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad.any()
