"""Rates of parameter groups under every schedule, in any order of epochs."""

from __future__ import annotations

import pytest
import torch

from nnunet_ext.base.optimizers import make_schedule
from nnunet_ext.semi_supervised.pseudo_labelled.restarted_lr import RestartedLR
from nnunet_ext.strategies.group_rates import GroupRates

KNOBS = {"lr_schedule": "poly", "warm_up": 0}


def optimizer(*factors: float | None) -> torch.optim.Optimizer:
    groups = [{"params": [torch.zeros(1)]} | ({} if factor is None else {"lr_factor": factor}) for factor in factors]
    return torch.optim.SGD(groups, 0.02)


def rates(given: torch.optim.Optimizer) -> list[float]:
    return [group["lr"] for group in given.param_groups]


@pytest.mark.parametrize("order", [range(10), (9, 0, 3, 3, 1)])
@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        (KNOBS, lambda epoch: 0.02 * (1 - epoch / 10) ** 0.9),
        (KNOBS | {"lr_schedule": "steps"}, lambda epoch: 0.02 * 0.1 ** (6 * epoch // 10)),
        (
            KNOBS | {"warm_up": 0.4},
            lambda epoch: 0.02 * (1 - epoch / 10) ** 0.9 * min(1.0, 0.01 + 0.99 * epoch / 4),
        ),
    ],
)
def test_each_group_keeps_its_factor(knobs, expected, order):
    given = optimizer(1.0, 0.5, None, 0.01)
    schedule = make_schedule(given, knobs, 0.02, 10)
    assert rates(given) == pytest.approx([expected(0) * factor for factor in (1, 0.5, 1, 0.01)])
    for epoch in order:
        schedule.step(epoch)
        assert rates(given) == pytest.approx([expected(epoch) * factor for factor in (1, 0.5, 1, 0.01)])


def test_without_factors_nothing_is_wrapped():
    assert not isinstance(make_schedule(optimizer(None), KNOBS, 0.02, 10), GroupRates)


def test_a_decay_that_restarts():
    given = optimizer(1.0, 0.5)
    schedule = RestartedLR(make_schedule(given, KNOBS, 0.02, 10), (4, 6))
    for epoch in range(10):
        schedule.step(epoch)
        share = epoch / 4 if epoch < 4 else (epoch - 4) / 6
        assert rates(given) == pytest.approx([0.02 * (1 - share) ** 0.9, 0.01 * (1 - share) ** 0.9])


def test_a_loaded_state_keeps_the_factors():
    old, new = optimizer(1.0, 0.5), optimizer(1.0, 0.5)
    schedule = make_schedule(new, KNOBS, 0.02, 10)
    new.load_state_dict(old.state_dict())
    schedule.step(5)
    assert rates(new) == pytest.approx([0.02 * 0.5**0.9, 0.01 * 0.5**0.9])
