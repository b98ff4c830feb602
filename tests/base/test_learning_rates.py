"""A learning rate that falls in steps."""

from __future__ import annotations

import pytest
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

from nnunet_ext.base.learning_rates import SteppedLR, WarmUp
from nnunet_ext.semi_supervised.pseudo_labelled.restarted_lr import RestartedLR


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


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True), torch.zeros(2, requires_grad=True)], 1.0)


def rate(given: torch.optim.Optimizer) -> float:
    return given.param_groups[0]["lr"]


@pytest.mark.parametrize("order", [range(10), (9, 0, 3, 3, 1)])
def test_poly_from_one_percent(order):
    """4 of 10 epochs: factors 0.01, 0.2575, 0.505, 0.7525 of 0.02 (1 - epoch / 10) ** 0.9, then 1."""
    given = optimizer()
    schedule = WarmUp(PolyLRScheduler(given, 0.02, 10), 0.4)
    assert rate(given) == pytest.approx(0.0002)
    factors = {0: 0.01, 1: 0.2575, 2: 0.505, 3: 0.7525}
    for epoch in order:
        schedule.step(epoch)
        assert rate(given) == pytest.approx(factors.get(epoch, 1) * 0.02 * (1 - epoch / 10) ** 0.9)


def test_steps():
    given = optimizer()
    schedule = WarmUp(SteppedLR(given, 1.0, 12), 0.25)
    rates = []
    for epoch in range(6):
        schedule.step(epoch)
        rates.append(rate(given))
    assert rates == pytest.approx([0.01, 0.34, 0.067, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(("epochs", "rising"), [(1000, 10), (100, 1), (49, 0), (1, 0)])
def test_a_hundredth_of_the_epochs_in_whole_ones(epochs, rising):
    given = optimizer()
    schedule = WarmUp(PolyLRScheduler(given, 1.0, epochs), 0.01)
    full = PolyLRScheduler(optimizer(), 1.0, epochs)
    below = 0
    for epoch in range(min(epochs, 20)):
        schedule.step(epoch)
        full.step(epoch)
        below += rate(given) < full.get_last_lr()[0] * 0.999
    assert below == rising


def test_every_group_rises():
    weights = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    given = torch.optim.AdamW([{"params": [weight]} for weight in weights], 1.0)
    WarmUp(PolyLRScheduler(given, 0.5, 4), 0.5)
    assert [group["lr"] for group in given.param_groups] == pytest.approx([0.005, 0.005])


@pytest.mark.parametrize("order", [range(10), (9, 4, 0, 3, 5, 3, 1)])
@pytest.mark.parametrize(
    ("again", "factors"),
    [
        (0, {0: 0.01, 1: 0.505}),
        (3, {0: 0.01, 1: 0.505, 3: 0.01, 4: 0.505}),
        (1, {0: 0.01, 1: 0.01, 2: 0.505}),  # it begins again before it has ended
    ],
)
def test_a_second_warm_up(order, again, factors):
    given = optimizer()
    schedule = WarmUp(PolyLRScheduler(given, 0.02, 10), 0.2, again)
    for epoch in order:
        schedule.step(epoch)
        assert rate(given) == pytest.approx(factors.get(epoch, 1) * 0.02 * (1 - epoch / 10) ** 0.9)


def test_both_parts_of_a_training_that_begins_again_rise():
    given = optimizer()
    schedule = RestartedLR(WarmUp(PolyLRScheduler(given, 1.0, 8), 0.5), (2, 6))
    rates = []
    for epoch in range(6):
        schedule.step(epoch)
        rates.append(rate(given))
    decays = [1, 0.5, 1, 5 / 6, 4 / 6, 3 / 6]
    factors = [0.01, 1, 0.01, 0.34, 0.67, 1]
    assert rates == pytest.approx([f * d**0.9 for f, d in zip(factors, decays, strict=True)])
