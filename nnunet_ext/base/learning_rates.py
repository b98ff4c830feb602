"""A learning rate that falls in steps."""

from __future__ import annotations

from torch.optim import Optimizer


class SteppedLR:
    """A tenth of the learning rate after each sixth of the training, as semi-supervised papers have it.

    torch's StepLR counts calls; nnU-Net names the epoch and keeps no schedule in its checkpoints.

    Args:
        optimizer: Whose learning rate it sets.
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
