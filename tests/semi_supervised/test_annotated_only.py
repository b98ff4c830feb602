"""Samples without annotation neither add to a loss nor dilute it."""

from __future__ import annotations

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import nn

from nnunet_ext.semi_supervised.annotated_only import AnnotatedOnly

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
