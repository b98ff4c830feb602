"""VerSemi's loss, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor, nn

from nnunet_ext.collection.training.mixed_loss import MixedLoss
from nnunet_ext.methods.versemi.architecture import VerSemiOutput
from nnunet_ext.methods.versemi.foreground import TaskLabels
from nnunet_ext.methods.versemi.loss import VerSemiLoss, VerSemiStep, binary_loss
from nnunet_ext.methods.versemi.mixing import Mixes

DICE = {"batch_dice": False, "smooth": 1e-5, "ddp": False}
ROW = (1, 1, 4)  # four voxels
BOX = torch.tensor([False, False, True, True]).view(1, 1, *ROW)


def classes(**options: Any) -> nn.Module:
    return DC_and_CE_loss(DICE | {"do_bg": False}, {}, dice_class=MemoryEfficientSoftDiceLoss, **options)


def row(values: list[float]) -> Tensor:
    return torch.tensor(values).view(1, 1, *ROW)


def two_classes(foreground: list[float]) -> Tensor:
    p = row(foreground)
    return torch.cat(((1 - p).log(), p.log()), 1)


def binary(p: list[float], g: list[float]) -> float:
    dice = (2 * sum(a * b for a, b in zip(p, g, strict=True)) + 1e-5) / (
        sum(a * a for a in p) + sum(b * b for b in g) + 1e-5
    )
    entropy = -sum(b * math.log(a) + (1 - b) * math.log(1 - a) for a, b in zip(p, g, strict=True)) / len(p)
    return 1 - dice + entropy


def own(p: list[float], g: list[float]) -> float:
    """nnU-Net's cross-entropy - Dice of the foreground."""
    both = sum(a * b for a, b in zip(p, g, strict=True))
    entropy = -sum(math.log(a if b else 1 - a) for a, b in zip(p, g, strict=True)) / len(p)
    return entropy - (2 * both + 1e-5) / (sum(p) + sum(g) + 1e-5)


def test_the_binary_loss_of_each_sample():
    logits = torch.cat([row([0.9, 0.2, 0.6, 0.3]), row([0.4, 0.7, 0.5, 0.8])]).logit()
    target = torch.cat([row([1, 0, 1, 0]), row([0.0, 0.7, 0.25, 1])])
    counted = torch.cat([row([1, 1, 0, 0]), row([1, 1, 1, 1])]).bool()
    expected = (binary([0.9, 0.2], [1, 0]) + binary([0.4, 0.7, 0.5, 0.8], [0, 0.7, 0.25, 1])) / 2
    assert float(binary_loss(logits, target, counted)) == pytest.approx(expected, abs=1e-6)


def test_without_voxels_or_samples_it_is_zero_with_a_gradient_of_zero():
    logits = row([1.0, 2.0, 3.0, 4.0]).requires_grad_()
    none = torch.zeros(1, 1, *ROW, dtype=torch.bool)
    for value in (binary_loss(logits, row([1, 0, 1, 0]), none), binary_loss(logits[:0], none[:0], none[:0])):
        (gradient,) = torch.autograd.grad(value, logits)
        assert value == 0
        assert gradient.abs().sum() == 0


def test_agreement_is_the_minimum_of_the_binary_loss():
    q = row([0.3, 0.6, 0.1, 0.9])
    logits = q.logit().requires_grad_()
    (gradient,) = torch.autograd.grad(binary_loss(logits, q, torch.ones_like(q).bool()), logits)
    assert gradient.abs().max() < 1e-6


def step_of(tasks: list[int], labels: list[list[int]], mixes: Mixes, **options: Any) -> VerSemiStep:
    of_samples = [torch.tensor(values).view(1, 1, *ROW) for values in labels]
    targets = [torch.cat([of_samples[n] for n in np.flatnonzero(np.equal(tasks, t))]) for t in np.unique(tasks)]
    valid = np.ones((len(tasks), 2), bool)
    return VerSemiStep(targets, np.array(tasks), valid, mixes, of_samples, (0, 1), **options)


def loss_of(weights=(1, 1, 1, 1), labels=None, **options: Any) -> VerSemiLoss:
    supervised = MixedLoss([classes(), classes()])
    return VerSemiLoss(supervised, [classes(), classes()], labels or [TaskLabels(2)] * 2, weights=weights, **options)


LABELS = [[1, 0, 0, 1], [0, 1, 1, 0]]
SUPERVISED = [[0.8, 0.3, 0.2, 0.6], [0.1, 0.9, 0.4, 0.3]]
SYNTHETIC, OUTSIDE, INSIDE = [0.7, 0.2, 0.6, 0.4], [0.9, 0.1, 0.3, 0.3], [0.2, 0.2, 0.8, 0.1]
FRAME = [0.3, 0.6, 0.7, 0.2]


def output_of(**options: Any) -> VerSemiOutput:
    parts = {
        "logits": torch.cat([two_classes(each) for each in SUPERVISED]),
        "synthetic": torch.cat((row(SYNTHETIC), row(FRAME))).logit(),
        "outside": two_classes(OUTSIDE),
        "inside": two_classes(INSIDE),
        "tasks": None,
    }
    return VerSemiOutput(**(parts | options))


MIXES = Mixes((0,), (1,), (1,), torch.cat((BOX, BOX)))
# teacher: task 0 finds the third voxel of the pair, which is labelled 1 by task 1; task 1 the second, unlabelled one
FOUND = torch.stack(
    [
        torch.tensor([[0.9, 0.1, 0.8, 0.7], [0.1, 0.6, 0.9, 0.1]]),
        torch.tensor([[0.2, 0.3, 0.1, 0.7], [0.7, 0.1, 0.9, 0.2]]),
    ]
).view(2, 2, *ROW)


def test_all_terms():
    """In the pair the second voxel (task 1 finds it) and the fourth (task 0 finds it, in task 1's box) do not count."""
    step = step_of([0, 1], LABELS, MIXES, teachers=FOUND, ramp=0.5)
    value = loss_of(weights=(2, 3, 5, 7))(output_of(), step)
    expected = {
        "supervised_loss": (own(SUPERVISED[0], LABELS[0]) + own(SUPERVISED[1], LABELS[1])) / 2,
        "synthetic_loss": binary([0.7, 0.6], [1, 1]),
        "specific_loss": (own(OUTSIDE[:2], [1, 0]) + own(INSIDE[2:], [1, 0])) / 2,
        "consistency_loss": binary(FRAME, [0.7, 0.3, 0.9, 0.7]),
        "box_loss": binary([0.7], [1]),  # of the box, the fourth voxel is found by task 0
        "masked": 3 / 3,
    }
    for name, part in expected.items():
        assert float(step.parts[name]) == pytest.approx(part, abs=1e-5), name
    terms = list(expected.values())
    total = terms[0] + 2 * terms[1] + 3 * terms[2] + 5 * 0.5 * terms[3] + 7 * terms[4]
    assert float(value) == pytest.approx(total, abs=1e-4)
    assert step.foreground == pytest.approx({0: 0.25, 1: 0.4})  # outside of the frame's box


def test_without_the_threshold_everything_counts_and_the_other_image_is_background():
    step = step_of([0, 1], LABELS, MIXES, teachers=FOUND[1:])
    loss_of(threshold=None)(output_of(), step)
    assert step.parts["masked"] == 0
    assert float(step.parts["synthetic_loss"]) == pytest.approx(binary(SYNTHETIC, [1, 0, 1, 0]), abs=1e-5)
    expected = (own(OUTSIDE, [1, 0, 0, 0]) + own(INSIDE, [0, 0, 1, 0])) / 2
    assert float(step.parts["specific_loss"]) == pytest.approx(expected, abs=1e-5)
    assert float(step.parts["box_loss"]) == pytest.approx(binary([0.7, 0.2], [1, 0]), abs=1e-5)


@pytest.mark.parametrize("threshold", [0.5, None])
def test_with_one_task_both_targets_are_the_mixed_label(threshold):
    step = step_of([1, 1], LABELS, MIXES, teachers=FOUND)
    loss_of(threshold=threshold)(output_of(), step)
    mixed = [1, 0, 1, 0]
    expected = (own(OUTSIDE, mixed) + own(INSIDE, mixed)) / 2
    assert float(step.parts["specific_loss"]) == pytest.approx(expected, abs=1e-5)


def test_a_box_of_side_zero_leaves_the_inner_task_no_voxel():
    empty = Mixes((0,), (1,), (), torch.zeros(1, 1, *ROW, dtype=torch.bool))
    step = step_of([0, 1], LABELS, empty)
    value = loss_of()(output_of(synthetic=row(SYNTHETIC).logit()), step)
    assert math.isfinite(value)
    assert float(step.parts["specific_loss"]) == pytest.approx(own(OUTSIDE, LABELS[0]) / 2, abs=1e-5)
    assert float(step.parts["synthetic_loss"]) == pytest.approx(binary(SYNTHETIC, LABELS[0]), abs=1e-5)
    assert step.parts["consistency_loss"] == step.parts["box_loss"] == 0
    assert step.foreground == {}


def test_ignored_voxels_do_not_count():
    labels = [TaskLabels(2, ignore_label=2), TaskLabels(2)]
    loss = VerSemiLoss(MixedLoss([classes(ignore_label=2), classes()]), [classes(ignore_label=2), classes()], labels)
    step = step_of([0, 1], [[1, 2, 0, 1], [0, 1, 1, 0]], MIXES, teachers=0 * FOUND)
    loss(output_of(), step)
    assert float(step.parts["synthetic_loss"]) == pytest.approx(binary([0.7, 0.6, 0.4], [1, 1, 0]), abs=1e-5)
    expected = (own(OUTSIDE[:1], [1]) + own(INSIDE[2:], [1, 0])) / 2
    assert float(step.parts["specific_loss"]) == pytest.approx(expected, abs=1e-5)


def test_regions_of_one_task_beside_classes_of_another():
    regions = DC_and_BCE_loss({}, DICE | {"do_bg": True}, dice_class=MemoryEfficientSoftDiceLoss)
    partial = DC_and_BCE_loss({}, DICE | {"do_bg": True}, dice_class=MemoryEfficientSoftDiceLoss)
    labels = [TaskLabels(1, regions=True), TaskLabels(2)]
    loss = VerSemiLoss(MixedLoss([regions, classes()]), [partial, classes()], labels)
    step = step_of([0, 1], LABELS, MIXES, teachers=0 * FOUND)
    step.valid[0, 1] = False
    outside = torch.cat((row(OUTSIDE).logit(), row(OUTSIDE)), 1)
    loss(output_of(outside=outside), step)
    entropy = -(math.log(0.9) + math.log(0.9)) / 2
    one = entropy - (2 * 0.9 + 1e-5) / (1 + 1 + 1e-5)
    assert float(step.parts["specific_loss"]) == pytest.approx((one + own(INSIDE[2:], [1, 0])) / 2, abs=1e-5)


@pytest.mark.parametrize("how", ["max", "noisy_or"])
def test_without_a_teacher_the_agreement_has_a_gradient_on_both_sides(how):
    tasks = torch.randn(2, 4, *ROW, requires_grad=True)
    synthetic = torch.randn(2, 1, *ROW, requires_grad=True)
    loss_of(weights=(0, 0, 1, 0), aggregate=how)(
        output_of(synthetic=synthetic, tasks=tasks), step_of([0, 1], LABELS, MIXES)
    ).backward()
    assert tasks.grad[0].abs().sum() == 0  # the pair
    for gradient in (tasks.grad[1], synthetic.grad[1]):
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0
