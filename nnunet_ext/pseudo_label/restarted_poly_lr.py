"""A learning rate that decays twice."""

from __future__ import annotations

from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from torch.optim import Optimizer


class RestartedPolyLR(PolyLRScheduler):
    """nnU-Net's polynomial decay, and after the first epochs once more from the beginning.

    Args:
        optimizer: Whose learning rate it sets.
        initial_lr: Learning rate before each decay.
        lengths: Epochs of the two decays.
    """

    def __init__(self, optimizer: Optimizer, initial_lr: float, lengths: tuple[int, int]) -> None:
        self.lengths = lengths
        super().__init__(optimizer, initial_lr, lengths[0])

    def step(self, current_step: int | None = None) -> None:
        """Set the learning rate of an epoch."""
        again = current_step is not None and current_step >= self.lengths[0]
        self.max_steps = self.lengths[again]
        super().step(current_step - self.lengths[0] if again else current_step)  # type: ignore[operator]
