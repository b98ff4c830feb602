"""The distances between features, worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nnunet_ext.methods.sequential_fine_tuning.architecture import Features
from nnunet_ext.methods.sequential_fine_tuning.loss import RetentionLoss, RetentionStep


def stage(*samples: tuple[float, ...]) -> Tensor:
    """Features (B, C, 1, 1)."""
    return torch.tensor(samples)[..., None, None]


def loss_of(output: list[Tensor], task: list[Tensor], earlier: list[Tensor], weight: float) -> tuple[Tensor, dict]:
    step = RetentionStep(torch.empty(0), task, earlier, weight)
    return RetentionLoss(nn.Identity())(Features(output), step), step.parts


def test_relative_to_the_teachers_features_by_sample_then_by_stage() -> None:
    """Stage 0: samples 1/4 and 9/9 of new data, 4/16 of earlier; stage 1: 0 and 4/1 of new, 1/4 of earlier."""
    output = [stage((0, 3), (3, 3), (4, 2)), stage((1,), (3,), (3,))]
    task = [stage((0, 2), (0, 3)), stage((1,), (1,))]
    earlier = [stage((4, 0)), stage((2,))]
    value, parts = loss_of(output, task, earlier, 10.0)
    expected = ((1 / 4 + 1) / 2 + (0 + 4) / 2) / 2, (4 / 16 + 1 / 4) / 2
    assert parts["task_features"].item() == pytest.approx(expected[0])
    assert parts["earlier_features"].item() == pytest.approx(expected[1])
    assert value.item() == pytest.approx(expected[0] + 10 * expected[1])


def test_no_sample_of_earlier_data() -> None:
    value, parts = loss_of([stage((3,))], [stage((2,))], [], 10.0)
    assert value.item() == pytest.approx(1 / 4)
    assert parts["earlier_features"].item() == 0


def test_full_precision_under_autocast() -> None:
    """Squares of 300 overflow half precision."""
    output = stage((300.0, 1.0), (1.0, 1.0)).half().requires_grad_()
    with torch.autocast("cpu", dtype=torch.float16):
        value, _ = loss_of([output], [stage((600.0, 1.0)).half()], [stage((1.0, 1.0)).half()], 1.0)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(0.25, rel=1e-3)


def test_equal_features_have_no_loss_and_no_gradient() -> None:
    output = torch.randn(2, 3, 2, 2, requires_grad=True)
    value, _ = loss_of([output], [output.detach()[:1]], [output.detach()[1:]], 1.0)
    value.backward()
    assert value.item() == 0
    assert not output.grad.any()  # type: ignore[union-attr]


def test_features_that_are_zero() -> None:
    value, _ = loss_of([stage((0.0,))], [stage((0.0,))], [], 1.0)
    assert value.item() == 0
