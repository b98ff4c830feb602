"""The mean of labelled and pseudo-labelled samples."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nnunet_ext.semi_supervised.pseudo_labelled.loss import PseudoLabelLoss, PseudoLabelStep


class MeanDistance(nn.Module):
    """Mean distance of output and target, at full resolution."""

    def forward(self, output: Tensor | list[Tensor], target: Tensor | list[Tensor]) -> Tensor:
        if isinstance(output, list):
            assert isinstance(target, list)
            return self(output[0], target[0])
        return (output - target).abs().mean()


OUTPUT = torch.tensor([1.0, 2.0, 5.0]).view(3, 1, 1, 1)
TARGET, PSEUDO = torch.zeros(1, 1, 1, 1), torch.tensor([1.0, 1.0]).view(2, 1, 1, 1)


@pytest.mark.parametrize(("weight", "expected"), [(1.0, (1 + 1 + 4) / 3), (0.25, (1 + 0.25 * 5) / 1.5), (0.0, 1.0)])
@pytest.mark.parametrize("scales", [False, True])
def test_weighted_mean(weight, expected, scales):
    loss = PseudoLabelLoss(MeanDistance(), weight)
    wrap = (lambda tensor: [tensor, tensor[..., :0]]) if scales else lambda tensor: tensor
    step = PseudoLabelStep(wrap(TARGET), wrap(PSEUDO))
    output = OUTPUT.clone().requires_grad_()
    value = loss(wrap(output), step)
    assert value.item() == pytest.approx(expected)
    assert {name: float(part) for name, part in step.parts.items()} == {"supervised_loss": 1, "pseudo_label_loss": 2.5}
    value.backward()
    assert output.grad.flatten().tolist() == pytest.approx([1 / (1 + 2 * weight), *[weight / (1 + 2 * weight)] * 2])


def test_before_there_are_pseudo_labels_it_is_the_supervised_loss():
    loss, step = PseudoLabelLoss(MeanDistance(), 1.0), PseudoLabelStep(TARGET)
    assert float(loss(OUTPUT[:1], step)) == float(loss(OUTPUT[:1], TARGET)) == 1
    assert {name: float(part) for name, part in step.parts.items()} == {"supervised_loss": 1, "pseudo_label_loss": 0}


@pytest.mark.parametrize("scales", [False, True])
def test_moving_a_step_moves_both_targets(scales):
    wrap = (lambda tensor: [tensor, tensor]) if scales else lambda tensor: tensor
    step = PseudoLabelStep(wrap(TARGET), wrap(PSEUDO))
    assert step.to(torch.device("meta"), non_blocking=True) is step
    for target in (step.target, step.pseudo_target):
        assert {each.device.type for each in (target if scales else [target])} == {"meta"}
    assert PseudoLabelStep(TARGET).to(torch.device("meta")).pseudo_target is None
