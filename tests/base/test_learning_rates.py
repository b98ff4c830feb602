"""A learning rate that falls in steps."""

from __future__ import annotations

import pytest
import torch

from nnunet_ext.base.learning_rates import SteppedLR


@pytest.mark.parametrize("order", [range(12), (7, 0, 11, 3)])
def test_a_tenth_after_each_sixth(order):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    schedule = SteppedLR(optimizer, 0.02, 12)
    assert optimizer.param_groups[0]["lr"] == 0.02
    for epoch in order:
        schedule.step(epoch)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02 * 10.0 ** -(epoch // 2))


def test_a_length_that_six_does_not_divide():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    schedule = SteppedLR(optimizer, 1.0, 7)
    rates = []
    for epoch in range(7):
        schedule.step(epoch)
        rates.append(round(-torch.tensor(optimizer.param_groups[0]["lr"]).log10().item()))
    assert rates == [0, 0, 1, 2, 3, 4, 5]
