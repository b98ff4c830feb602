"""The optimizers and learning-rate schedules that knobs name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from torch.optim import SGD, AdamW, Optimizer

from nnunet_ext.base.learning_rates import SteppedLR, WarmUp
from nnunet_ext.strategies.group_rates import FACTOR, GroupRates

Schedule: TypeAlias = PolyLRScheduler | SteppedLR | WarmUp | GroupRates
Groups: TypeAlias = list[dict[str, Any]]


def make_optimizer(
    weights: Iterable[torch.nn.Parameter],
    stock: Optimizer,
    kind: str,
    rate: float,
    weight_decay: float,
    groups: Groups | None = None,
) -> Optimizer:
    """Return the optimizer that the knob ``optimizer`` names: ``stock`` itself for "SGD".

    Args:
        weights: All parameters.
        stock: nnU-Net's optimizer of them.
        kind: The knob's value.
        rate: Learning rate.
        weight_decay: Weight decay.
        groups: What is trained instead of ``weights``, with the same settings.
    """
    trained = weights if groups is None else groups
    if kind == "AdamW":
        return AdamW(trained, rate, weight_decay=weight_decay)
    if kind == "PlainSGD":
        return SGD(trained, rate, momentum=0.9, weight_decay=weight_decay)
    return stock if groups is None else type(stock)(groups, **stock.defaults)


def make_schedule(
    optimizer: Optimizer, knobs: Mapping[str, Any], rate: float, epochs: int, released: int = 0
) -> Schedule:
    """Return the schedule that the knobs ``lr_schedule`` and ``warm_up`` name; groups may have rates of their own.

    Args:
        optimizer: Whose rates it sets.
        knobs: All knobs.
        rate: Initial learning rate.
        epochs: Length of the schedule.
        released: Epoch in which frozen parts begin to train, and with it the warm-up once more; 0: none do.
    """
    decay = SteppedLR if knobs["lr_schedule"] == "steps" else PolyLRScheduler
    schedule: Schedule = decay(optimizer, rate, epochs)
    if knobs["warm_up"]:
        schedule = WarmUp(schedule, knobs["warm_up"], released)
    return GroupRates(schedule, optimizer) if any(FACTOR in group for group in optimizer.param_groups) else schedule


def kind_of(state: Mapping[str, Any]) -> str:
    """Return which of the knob's optimizers an optimizer's state dict belongs to."""
    group = state["param_groups"][0]
    if "betas" in group:
        return "AdamW"
    return "SGD" if group.get("nesterov") else "PlainSGD"
