"""BA-Net's boundary target and loss against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from skimage.morphology import erosion, footprint_rectangle
from torch import nn
from torch.testing import assert_close

from nnunet_ext.base.method_loss import TrainingStep
from nnunet_ext.methods.ba_net.architecture import BANetOutput
from nnunet_ext.methods.ba_net.loss import BANetLoss, BoundaryLoss, boundary_target, neighbourhood_minimum


def label_map(rows: list[str]) -> torch.Tensor:
    return torch.tensor([[[[int(value) for value in row] for row in rows]]], dtype=torch.uint8)


def test_boundary_by_hand():
    labels = label_map(["000000", "011110", "011220", "011220", "011110", "011111"])
    expected = label_map(["000000", "011110", "010110", "010110", "010010", "010011"])
    assert torch.equal(boundary_target(labels), expected)


def test_the_image_border_is_no_boundary():
    assert boundary_target(torch.ones(1, 1, 5, 5, 5, dtype=torch.uint8)).sum() == 0


def test_width_five_reaches_two_voxels():
    labels = label_map(["0000000", "1111111", "1111111", "1111111"])
    assert boundary_target(labels, width=3)[0, 0, :, 3].tolist() == [0, 1, 0, 0]
    assert boundary_target(labels, width=5)[0, 0, :, 3].tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("shape", [(2, 1, 9, 12, 7), (3, 1, 11, 6), (1, 1, 1, 8, 8), (1, 1, 2, 2, 2)])
@pytest.mark.parametrize("width", [3, 5])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32])
def test_minimum_equals_pooling(shape, width, dtype):
    x = torch.randint(0, 14, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    pool = nn.functional.max_pool2d if len(shape) == 4 else nn.functional.max_pool3d
    expected = -pool(-x.float(), width, stride=1, padding=width // 2)
    assert torch.equal(neighbourhood_minimum(x, width).float(), expected)


def test_boundary_equals_erosion_per_class():
    """The definition: for each pair of neighbouring labels, {label > lower} minus its erosion, united."""
    labels = np.random.default_rng(1).integers(0, 4, (6, 10, 9)).repeat(2, 1).astype(np.uint8)
    union = np.zeros_like(labels, bool)
    for lower in (0, 1, 2):
        mask = labels > lower
        union |= mask & ~erosion(mask, footprint_rectangle((3, 3, 3)))
    assert np.array_equal(boundary_target(torch.from_numpy(labels)[None, None])[0, 0].bool().numpy(), union)


def test_ignored_voxels_are_marked_and_make_no_boundary():
    labels = label_map(["11113", "11113", "00113"])  # 3 is ignored
    expected = label_map(["00002", "11102", "00102"])
    assert torch.equal(boundary_target(labels, ignore_label=3), expected)


def test_regions_unite_the_boundaries_of_all_channels():
    outer = label_map(["000000", "111110", "111110", "111110"])[:, 0]
    inner = label_map(["000000", "000000", "001110", "001110"])[:, 0]
    expected = label_map(["000000", "111110", "001110", "001010"])
    target = torch.stack((outer, inner), 1).bool()
    assert torch.equal(boundary_target(target, regions=True), expected)


def test_regions_with_ignore_channel():
    region = label_map(["111100", "111100"])[:, 0]
    ignored = label_map(["000011", "000001"])[:, 0]
    target = torch.stack((region, ignored), 1).bool()
    expected = label_map(["000122", "000102"])
    assert torch.equal(boundary_target(target, regions=True, ignore_channel=True), expected)


def dice_and_ce(ignore: int | None = None) -> nn.Module:
    return DC_and_CE_loss(
        {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False},
        {},
        ignore_label=ignore,
        dice_class=MemoryEfficientSoftDiceLoss,
    )


def test_boundary_loss_by_hand():
    """4 voxels in a row with labels 0 0 1 1: only the third is boundary. With logits 0, p = 1/2 everywhere:
    CE = ln 2; Dice = 2 x 0.5 / (1 + 2) = 1/3."""
    loss = BoundaryLoss(dice_and_ce(), width=3, highest_label=2)
    target = torch.tensor([0, 0, 1, 1], dtype=torch.int16).view(1, 1, 1, 4)
    assert loss.target(target).flatten().tolist() == [0, 0, 1, 0]
    assert_close(loss(torch.zeros(1, 2, 1, 4), target).item(), math.log(2) - 1 / 3, rtol=0, atol=1e-5)


def test_ignored_voxels_do_not_count():
    """The same with a fifth, ignored voxel: the loss is unchanged, whatever its logits."""
    loss = BoundaryLoss(dice_and_ce(ignore=2), width=3, highest_label=2, ignore_label=2)
    target = torch.tensor([0, 0, 1, 1, 2], dtype=torch.int16).view(1, 1, 1, 5)
    logits = torch.zeros(1, 2, 1, 5)
    logits[..., 4] = torch.tensor([-7.0, 9.0]).view(2, 1)
    assert_close(loss(logits, target).item(), math.log(2) - 1 / 3, rtol=0, atol=1e-5)


def test_boundary_loss_gradient():
    loss = BoundaryLoss(dice_and_ce(), width=3, highest_label=2)
    target = torch.randint(0, 3, (2, 1, 3, 4, 3))
    logits = torch.randn(2, 2, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    # nnU-Net's Dice sums in float32, so the numeric derivative is coarse
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits, eps=1e-2, atol=1e-3)


def test_many_labels_do_not_overflow():
    loss = BoundaryLoss(dice_and_ce(), width=3, highest_label=300)
    target = torch.tensor([0, 256, 256, 299], dtype=torch.int16).view(1, 1, 1, 4)
    assert loss.target(target).flatten().tolist() == [0, 1, 0, 1]


class _Mean(nn.Module):
    def forward(self, output, target):
        return output.mean()


def test_total_loss_weights_the_boundary_and_leaves_its_parts():
    loss = BANetLoss(_Mean(), _Mean(), weight=0.25)
    output = BANetOutput(torch.full((1, 3, 2, 2), 5.0, requires_grad=True), torch.full((1, 2, 2, 2), 8.0))
    step = TrainingStep(torch.zeros(1, 1, 2, 2))
    total = loss(output, step)
    assert total.item() == 5 + 0.25 * 8
    assert {name: part.item() for name, part in step.parts.items()} == {"segmentation_loss": 5, "boundary_loss": 8}
    assert not step.parts["segmentation_loss"].requires_grad


def test_validation_counts_the_segmentation_alone():
    loss = BANetLoss(_Mean(), _Mean(), weight=0.25)
    assert loss(torch.full((1, 3, 2, 2), 5.0), torch.zeros(1, 1, 2, 2)).item() == 5
