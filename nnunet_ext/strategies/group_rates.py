"""A learning-rate schedule for parameter groups with rates of their own."""

from __future__ import annotations

from typing import Protocol

from torch.optim import Optimizer

FACTOR = "lr_factor"  # key in a parameter group


class _Schedule(Protocol):
    max_steps: int

    def step(self, epoch: int) -> None: ...


class GroupRates:
    """A schedule whose rate each parameter group takes times its own ``lr_factor``.

    nnU-Net's schedules give all groups the same rate. The factors multiply it after that, so the rate of an epoch
    depends on the epoch and the group alone, and a resumed training has the same rates. A group without a factor has
    the schedule's rate.

    Args:
        schedule: Sets the learning rate of an epoch.
        optimizer: Its optimizer.

    Example:
        >>> import torch
        >>> from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
        >>> from nnunet_ext.strategies.group_rates import GroupRates
        >>> groups = [{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)], "lr_factor": 0.5}]
        >>> optimizer = torch.optim.SGD(groups, 0.01)
        >>> schedule = GroupRates(PolyLRScheduler(optimizer, 0.01, 10), optimizer)
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.01, 0.005]
    """

    def __init__(self, schedule: _Schedule, optimizer: Optimizer) -> None:
        self.schedule = schedule
        self.optimizer = optimizer
        self.step(0)

    @property
    def max_steps(self) -> int:
        """Epochs of the schedule."""
        return self.schedule.max_steps

    @max_steps.setter
    def max_steps(self, epochs: int) -> None:
        self.schedule.max_steps = epochs

    def step(self, epoch: int) -> None:
        """Set the learning rates of an epoch."""
        self.schedule.step(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] *= group.get(FACTOR, 1.0)
