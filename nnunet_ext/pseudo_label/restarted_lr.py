"""A learning rate that decays twice."""

from __future__ import annotations

from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

from nnunet_ext.base.stepped_lr import SteppedLR


class RestartedLR:
    """A decay of the learning rate, and after the first epochs once more from the beginning.

    Args:
        decay: Of the whole training; it gets other lengths.
        lengths: Epochs of the two decays.
    """

    def __init__(self, decay: PolyLRScheduler | SteppedLR, lengths: tuple[int, int]) -> None:
        self.decay = decay
        self.lengths = lengths

    def step(self, epoch: int) -> None:
        """Set the learning rate of an epoch."""
        again = epoch >= self.lengths[0]
        self.decay.max_steps = self.lengths[again]
        self.decay.step(epoch - self.lengths[0] if again else epoch)
