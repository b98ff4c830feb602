"""BCP's loss worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor

from nnunet_ext.methods.bcp.loss import BCPLoss, BCPStep

DICE = {"batch_dice": False, "smooth": 1e-5, "ddp": False}


def classes(ignore_label: int | None = None, **dice: Any) -> DC_and_CE_loss:
    kwargs = DICE | {"do_bg": False} | dice
    return DC_and_CE_loss(kwargs, {}, ignore_label=ignore_label, dice_class=MemoryEfficientSoftDiceLoss)


def regions(ignored: bool = False) -> DC_and_BCE_loss:
    return DC_and_BCE_loss({}, DICE | {"do_bg": True}, use_ignore_label=ignored)


def logits_of(foreground: list[list[float]]) -> Tensor:
    """Two classes on a row of voxels, (B, 2, 1, W)."""
    p = torch.tensor(foreground)[:, None, None]
    return torch.cat(((1 - p).log(), p.log()), 1)


# two images of three voxels; the box is the last voxel, whose label in the first image is a pseudo-label
OUTPUT = [[0.9, 0.2, 0.6], [0.3, 0.8, 0.7]]
TARGET = torch.tensor([[1, 0, 1], [0, 1, 1]]).view(2, 1, 1, 3)
BOX = torch.tensor([False, False, True]).view(1, 1, 1, 3)


def by_hand(foreground: list[float], target: list[int]) -> float:
    """Cross-entropy - Dice of the foreground, over the given voxels only."""
    entropy = -sum(math.log(p if t else 1 - p) for p, t in zip(foreground, target, strict=True)) / len(target)
    both = sum(p * t for p, t in zip(foreground, target, strict=True))
    return entropy - (2 * both + 1e-5) / (sum(foreground) + sum(target) + 1e-5)


@pytest.mark.parametrize("ignore_label", [None, 2])
def test_each_part_by_itself(ignore_label):
    loss = BCPLoss(classes(ignore_label), classes(ignore_label), ignore_label=ignore_label, weight=0.5)
    step = BCPStep(TARGET, BOX)
    value = loss(logits_of(OUTPUT), step)
    known = by_hand([0.9, 0.2], [1, 0]) + by_hand([0.7], [1])
    guessed = by_hand([0.6], [1]) + by_hand([0.3, 0.8], [0, 1])
    assert float(value) == pytest.approx((known + 0.5 * guessed) / 2, abs=1e-6)
    assert float(step.parts["supervised_loss"]) == pytest.approx(known / 2, abs=1e-6)
    assert float(step.parts["pseudo_label_loss"]) == pytest.approx(guessed / 2, abs=1e-6)


def test_ignored_voxels_stay_ignored():
    loss = BCPLoss(classes(2), classes(2), ignore_label=2)
    target = TARGET.clone()
    target[0, 0, 0, 1] = 2
    step = BCPStep(target, BOX)
    loss(logits_of(OUTPUT), step)
    known = by_hand([0.9], [1]) + by_hand([0.7], [1])
    assert float(step.parts["supervised_loss"]) == pytest.approx(known / 2, abs=1e-6)


def test_nothing_labelled_in_a_part():
    loss = BCPLoss(classes(2), classes(2), ignore_label=2)
    output = logits_of(OUTPUT).requires_grad_()
    value = loss(output, BCPStep(torch.tensor([[2, 2, 1], [0, 1, 2]]).view(2, 1, 1, 3), BOX))
    value.backward()
    assert value.isfinite()
    assert output.grad.isfinite().all()
    assert not output.grad[0, :, :, :2].any()


def test_the_gradient_of_a_part_stays_in_it():
    loss = BCPLoss(classes(), classes(), weight=0)
    output = logits_of(OUTPUT).requires_grad_()
    loss(output, BCPStep(TARGET, BOX)).backward()
    touched = output.grad.abs().sum((1, 2)) > 0
    assert touched.tolist() == [[True, True, False], [False, False, True]]


@pytest.mark.parametrize("ignored", [False, True])
def test_regions(ignored):
    """Two regions; without an ignore label nnU-Net's cross-entropy is a mean over regions, with one their sum."""
    output = torch.tensor([[[2.0, -1, 0.5], [0.0, 1, -2]], [[-1.0, 1, 1], [3.0, 0, 0]]])[:, :, None]
    target = torch.tensor([[[1, 0, 1], [0, 0, 1]], [[0, 1, 0], [1, 1, 0]]])[:, :, None].bool()
    marked = torch.cat((target, torch.zeros(2, 1, 1, 3, dtype=torch.bool)), 1) if ignored else target
    loss = BCPLoss(regions(ignored), regions(ignored), regions=2, ignore_label=3 if ignored else None, weight=2)
    value = float(loss(output, BCPStep(marked, BOX)))

    def part(sample: int, voxels: slice) -> Tensor:
        mine, its = output[sample : sample + 1, ..., voxels], target[sample : sample + 1, ..., voxels]
        if ignored:
            its = torch.cat((its, torch.zeros_like(its[:, :1])), 1)
        return regions(ignored)(mine, its)

    known = part(0, slice(2)) + part(1, slice(2, 3))
    guessed = part(0, slice(2, 3)) + part(1, slice(2))
    assert value == pytest.approx(float(known + 2 * guessed) / 2, abs=1e-5)


def test_all_scales_with_nnunets_weights():
    coarse_box = torch.tensor([False, True])
    box = coarse_box.repeat_interleave(2).view(1, 1, 1, 4)
    generator = torch.Generator().manual_seed(0)
    fine, coarse = (torch.randn(2, 3, 1, size, generator=generator) for size in (4, 2))
    targets = [
        torch.tensor([[0, 1, 2, 1], [2, 2, 1, 0]]).view(2, 1, 1, 4),
        torch.tensor([[1, 2], [0, 1]]).view(2, 1, 1, 2),
    ]
    loss = BCPLoss(*(DeepSupervisionWrapper(classes(), [0.75, 0.25]) for _ in range(2)))
    value = float(loss([fine, coarse], BCPStep(targets, box)))
    single = BCPLoss(classes(), classes())
    parts = []
    for output, target, where in ((fine, targets[0], box), (coarse, targets[1], coarse_box.view(1, 1, 1, 2))):
        parts.append(float(single(output, BCPStep(target, where))))
    assert value == pytest.approx(0.75 * parts[0] + 0.25 * parts[1], abs=1e-6)


@pytest.mark.parametrize("kind", ["classes", "regions"])
def test_without_a_box_it_is_nnunets_own(kind):
    output = torch.randn(2, 2, 1, 3)
    target = TARGET if kind == "classes" else TARGET.repeat(1, 2, 1, 1)
    plain, loss = (
        (classes(), BCPLoss(classes(), classes()))
        if kind == "classes"
        else (
            regions(),
            BCPLoss(regions(), regions(), regions=2),
        )
    )
    step = BCPStep(target)
    assert float(loss(output, step)) == float(loss(output, target)) == float(plain(output, target))
    assert float(step.parts["pseudo_label_loss"]) == 0
