"""Two decays, each nnU-Net's own."""

from __future__ import annotations

import pytest
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

from nnunet_ext.base.learning_rates import SteppedLR
from nnunet_ext.semi_supervised.pseudo_labelled.restarted_lr import RestartedLR


@pytest.mark.parametrize("order", [range(5), (4, 0, 3)])
def test_each_epoch_has_its_rate(order):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    schedule = RestartedLR(PolyLRScheduler(optimizer, 0.02, 5), (2, 3))
    assert optimizer.param_groups[0]["lr"] == 0.02
    rates = [0.02, 0.02 * 0.5358867, 0.02, 0.02 * 0.6942532, 0.02 * 0.3720411]  # (1 - epoch / length) ** 0.9
    for epoch in order:
        schedule.step(epoch)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rates[epoch], rel=1e-6)


def test_steps_restart_too():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    schedule = RestartedLR(SteppedLR(optimizer, 0.02, 18), (6, 12))
    rates = []
    for epoch in range(18):
        schedule.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.02 * 0.1**n for n in (*range(6), *sorted([*range(6)] * 2))])
