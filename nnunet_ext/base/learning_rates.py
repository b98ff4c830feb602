"""Learning-rate schedules that nnU-Net does not have: a step decay and a warm-up."""

from __future__ import annotations

from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from torch.optim import Optimizer

FIRST = 0.01  # of the schedule's rate, in the first epoch of a warm-up


class SteppedLR:
    """Divide the learning rate by 10 after each sixth of the training, as in semi-supervised papers.

    torch's StepLR counts calls; nnU-Net passes the epoch and saves no schedule in its checkpoints.

    Args:
        optimizer: The optimizer whose learning rate it sets.
        initial_lr: Learning rate of the first sixth.
        max_steps: Epochs of the training.
    """

    def __init__(self, optimizer: Optimizer, initial_lr: float, max_steps: int) -> None:
        self.optimizer = optimizer
        self.initial_lr = initial_lr
        self.max_steps = max_steps
        self.step(0)

    def step(self, epoch: int) -> None:
        """Set the learning rate of an epoch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.initial_lr * 0.1 ** (6 * epoch // self.max_steps)


class WarmUp:
    """A schedule with a warm-up: 1 % of its learning rate in the first epoch, then rising linearly to all of it.

    The rate of an epoch depends on the epoch alone, so a resumed training has the same rates.

    Args:
        schedule: What sets the learning rate of an epoch.
        share: Share of the schedule's length in which the rate rises, rounded to whole epochs.
        again: Epoch in which it begins to rise once more, as a frozen part is released; 0: it does not.
    """

    def __init__(self, schedule: PolyLRScheduler | SteppedLR, share: float, again: int = 0) -> None:
        self.schedule = schedule
        self.share = share
        self.again = again
        self.step(0)

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer whose learning rate it sets."""
        return self.schedule.optimizer

    @property
    def max_steps(self) -> int:
        """Epochs of the schedule, warm-up included."""
        return self.schedule.max_steps

    @max_steps.setter
    def max_steps(self, epochs: int) -> None:
        self.schedule.max_steps = epochs

    def step(self, epoch: int) -> None:
        """Set the learning rate of an epoch."""
        self.schedule.step(epoch)
        rising = round(self.share * self.max_steps)
        risen = epoch - self.again if epoch >= self.again else epoch
        if risen < rising:
            for group in self.schedule.optimizer.param_groups:
                group["lr"] *= FIRST + (1 - FIRST) * risen / rising
