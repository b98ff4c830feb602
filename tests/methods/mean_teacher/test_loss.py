"""Mean Teacher's loss worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from nnunet_ext.methods.mean_teacher.loss import MeanTeacherLoss, MeanTeacherStep


class Supervised(nn.Module):
    """Remembers what it was given."""

    def forward(self, output: Tensor | list[Tensor], target: Tensor | list[Tensor]) -> Tensor:
        self.output, self.target = output, target
        return (output[0] if isinstance(output, list) else output).sum() * 0 + 7.0


def logits(*samples: float) -> Tensor:
    """Two channels, whose probabilities are p and 1 - p in every voxel."""
    p = torch.tensor(samples).view(-1, 1, 1, 1)
    return torch.cat((p.log(), (1 - p).log()), 1).expand(-1, 2, 2, 3).clone()


TARGET = torch.zeros(1, 1, 2, 3)


@pytest.mark.parametrize("scales", [False, True])
def test_the_unlabelled_samples_are_drawn_to_the_teacher(scales):
    output = logits(0.5, 0.25, 0.75).requires_grad_()
    teacher = logits(0.5, 0.25).exp()
    supervised = Supervised()
    loss = MeanTeacherLoss(supervised, regions=False)
    step = MeanTeacherStep([TARGET, TARGET] if scales else TARGET, teacher, 0.5)
    coarse = torch.zeros(3, 2, 1, 1)
    value = loss([output, coarse] if scales else output, step)
    expected = (0.25**2 + 0.5**2) / 2
    assert float(value) == pytest.approx(7 + 0.5 * expected)
    assert float(step.parts["consistency_loss"]) == pytest.approx(expected)
    assert float(step.parts["supervised_loss"]) == 7
    assert [len(scale) for scale in supervised.output] == [1, 1] if scales else len(supervised.output) == 1
    value.backward()
    assert not output.grad[0].any()
    assert output.grad[1:].abs().gt(0).all()


def test_regions():
    output = torch.cat((torch.zeros(1, 2, 2, 3), torch.full((1, 2, 2, 3), math.log(3))))
    loss = MeanTeacherLoss(Supervised(), regions=True)
    step = MeanTeacherStep(TARGET, torch.full((1, 2, 2, 3), 0.25), 1.0)
    assert float(loss(output, step)) == pytest.approx(7 + 0.5**2)


def test_the_difference_does_not_shrink_with_every_further_class():
    output = torch.cat(
        (torch.zeros(1, 4, 2, 3), torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()[:, :, None, None].expand(1, 4, 2, 3))
    )
    loss = MeanTeacherLoss(Supervised(), regions=False)
    teacher = torch.tensor([[0.25, 0.5, 0.125, 0.125]])[:, :, None, None].expand(1, 4, 2, 3)
    assert float(loss(output, MeanTeacherStep(TARGET, teacher, 1.0))) == pytest.approx(7 + (0.25**2 + 0.25**2) / 2)


def test_with_a_plain_target_the_loss_is_the_supervised_one():
    loss = MeanTeacherLoss(Supervised(), regions=False)
    loss(logits(0.5, 0.25), MeanTeacherStep(TARGET, logits(0.5).exp(), 1.0))
    output = logits(0.5)
    assert float(loss(output, TARGET)) == 7
    assert loss.supervised.output is output


def test_the_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    teacher = torch.rand(2, 2, 2, 3, dtype=torch.float64)

    def consistency(output: Tensor) -> Tensor:
        loss = MeanTeacherLoss(Supervised(), regions=False)
        return loss(output, MeanTeacherStep(TARGET, teacher, 2.0))

    # probabilities are float32
    output = torch.randn(3, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(consistency, output, eps=1e-2, atol=1e-3, nondet_tol=1e-6)
