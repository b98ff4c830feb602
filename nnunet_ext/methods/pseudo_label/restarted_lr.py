"""A learning rate that decays twice."""

from __future__ import annotations

from nnunet_ext.base.optimizers import Schedule


class RestartedLR:
    """A decay of the learning rate that starts again once, after the first epochs.

    Args:
        decay: The decay of the whole training; its length is changed.
        lengths: Epochs of the two decays.
    """

    def __init__(self, decay: Schedule, lengths: tuple[int, int]) -> None:
        self.decay = decay
        self.lengths = lengths

    def step(self, epoch: int) -> None:
        """Set the learning rate of an epoch."""
        again = epoch >= self.lengths[0]
        self.decay.max_steps = self.lengths[again]
        self.decay.step(epoch - self.lengths[0] if again else epoch)
