"""MC-Net+'s loss: literal numbers, pairs, sharpening of several classes, which gradients flow."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from nnunet_ext.methods.mc_net_plus.architecture import MCNetPlusOutput
from nnunet_ext.methods.mc_net_plus.loss import MCNetPlusLoss, MCNetPlusStep


class Mean(nn.Module):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        assert len(logits) == len(target)
        return logits.mean()


def voxel(*odds: float) -> Tensor:
    """Logits whose softmax is the odds' shares."""
    return torch.tensor([math.log(each) for each in odds]).view(1, -1, 1, 1)


TARGET = torch.zeros(1, 1, 1, 1)


def consistency(*logits: Tensor, regions: bool = False, temperature: float = 0.5) -> float:
    loss = MCNetPlusLoss(Mean(), regions=regions, temperature=temperature)
    step = MCNetPlusStep(TARGET)
    loss(MCNetPlusOutput(list(logits)), step)
    return step.parts["consistency_loss"].item()


def test_consistency_by_hand():
    """Odds 1 : 1, 1 : 1 and 3 : 1, squared by temperature 1/2: sharp 0.5, 0.5 and 0.9; plain 0.5, 0.5 and 0.75.
    Six pairs: two of 0, two of plain 0.5 with sharp 0.9, two of plain 0.75 with sharp 0.5."""
    found = consistency(voxel(1, 1), voxel(1, 1), voxel(3, 1))
    assert found == pytest.approx(2 * 0.4**2 + 2 * 0.25**2)


def test_one_region_has_the_value_of_two_classes():
    logit = torch.tensor(math.log(3)).view(1, 1, 1, 1)
    found = consistency(0 * logit, 0 * logit, logit, regions=True)
    assert found == pytest.approx(2 * 0.4**2 + 2 * 0.25**2)


def test_several_classes_are_sharpened_together():
    """(0.385, 0.315, 0.258, 0.043) at temperature 0.1 is (0.867, 0.117, 0.016, 0), and not next to nothing."""
    blunt = (0.385, 0.315, 0.258, 0.043)
    sharp = torch.tensor([each**10 for each in blunt])
    sharp = sharp / sharp.sum()
    assert_close(sharp, torch.tensor([0.867, 0.117, 0.016, 0.0]), rtol=0, atol=1e-3)
    share = torch.tensor(blunt) / sum(blunt)
    expected = 2 * (share - sharp).square().sum().item() / 2
    assert consistency(voxel(*blunt), voxel(*blunt), temperature=0.1) == pytest.approx(expected, rel=1e-4)


def test_sharpening_does_not_underflow_in_half_precision():
    logits = [torch.tensor([30.0, -30.0, 0.0]).view(1, 3, 1, 1).half() for _ in range(3)]
    loss = MCNetPlusLoss(Mean(), regions=False)
    step = MCNetPlusStep(TARGET)
    assert loss(MCNetPlusOutput(logits), step).isfinite()
    assert step.parts["consistency_loss"].item() == pytest.approx(0, abs=1e-6)


def test_total_weights_its_parts():
    """Logits 1, 2 and 4: supervised 7; equal channels, so nothing to agree about but the last one's."""
    given = MCNetPlusOutput([torch.full((1, 2, 2, 2), value) for value in (1.0, 2.0, 4.0)])
    given.logits[2][:, 0] += 1
    loss = MCNetPlusLoss(Mean(), regions=False, supervised_weight=0.25, consistency_weight=3.0)
    step = MCNetPlusStep(torch.zeros(1, 1, 2, 2), ramp=0.5)
    total = loss(given, step)
    assert step.parts["supervised_loss"].item() == pytest.approx(7.5)
    assert step.parts["consistency_loss"].item() > 0
    assert total.item() == pytest.approx(0.25 * 7.5 + 0.5 * 3 * step.parts["consistency_loss"].item())


@pytest.mark.parametrize("detach", [True, False])
def test_sharp_targets_carry_gradients_only_on_wish(detach):
    """Of two decoders, by the logits of the first: as the one that follows, and on wish as the one followed."""
    first, second = torch.randn(2, 3, 2, 2, requires_grad=True), torch.randn(2, 3, 2, 2, requires_grad=True)
    loss = MCNetPlusLoss(Mean(), regions=False, temperature=0.5, supervised_weight=1e-9, detach=detach)
    gradient = torch.autograd.grad(
        loss(MCNetPlusOutput([first, second]), MCNetPlusStep(torch.zeros(2, 1, 2, 2))), first
    )[0]

    plain, sharp = first.softmax(1), (second / 0.5).softmax(1).detach()
    towards = (plain - sharp).square().sum(1).mean() / 2
    if not detach:
        towards = towards + (second.softmax(1).detach() - (first / 0.5).softmax(1)).square().sum(1).mean() / 2
    assert_close(gradient, torch.autograd.grad(towards, first)[0])


def test_supervised_terms_see_labelled_samples_only_and_consistency_all():
    logits = [torch.randn(5, 2, 2, 2, requires_grad=True) for _ in range(3)]
    loss = MCNetPlusLoss(Mean(), regions=False, consistency_weight=0.0)
    total = loss(MCNetPlusOutput(logits), MCNetPlusStep(torch.zeros(2, 1, 2, 2)))
    for gradient in torch.autograd.grad(total, logits):
        assert (gradient[:2] != 0).all()
        assert (gradient[2:] == 0).all()
    loss = MCNetPlusLoss(Mean(), regions=False)
    for gradient in torch.autograd.grad(loss(MCNetPlusOutput(logits), MCNetPlusStep(torch.zeros(2, 1, 2, 2))), logits):
        assert (gradient[2:] != 0).all()


def test_with_a_plain_target_the_loss_is_the_supervised_one():
    loss = MCNetPlusLoss(Mean(), regions=False)
    assert loss(torch.full((1, 2, 2, 2), 5.0), torch.zeros(1, 1, 2, 2)).item() == 5
