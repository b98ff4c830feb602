"""The optimizers and learning-rate schedules that knobs name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from torch.optim import SGD, AdamW, Optimizer

from nnunet_ext.base.learning_rates import SteppedLR, WarmUp

Schedule: TypeAlias = PolyLRScheduler | SteppedLR | WarmUp


def make_optimizer(
    weights: Iterable[torch.nn.Parameter], stock: Optimizer, kind: str, rate: float, weight_decay: float
) -> Optimizer:
    """Return the optimizer that the knob ``optimizer`` names: ``stock`` itself for "SGD"."""
    if kind == "AdamW":
        return AdamW(weights, rate, weight_decay=weight_decay)
    if kind == "PlainSGD":
        return SGD(weights, rate, momentum=0.9, weight_decay=weight_decay)
    return stock


def make_schedule(optimizer: Optimizer, knobs: Mapping[str, Any], rate: float, epochs: int) -> Schedule:
    """Return the schedule that the knobs ``lr_schedule`` and ``warm_up`` name."""
    decay = SteppedLR if knobs["lr_schedule"] == "steps" else PolyLRScheduler
    schedule = decay(optimizer, rate, epochs)
    return WarmUp(schedule, knobs["warm_up"]) if knobs["warm_up"] else schedule


def kind_of(state: Mapping[str, Any]) -> str:
    """Return which of the knob's optimizers an optimizer's state dict belongs to."""
    group = state["param_groups"][0]
    if "betas" in group:
        return "AdamW"
    return "SGD" if group.get("nesterov") else "PlainSGD"
