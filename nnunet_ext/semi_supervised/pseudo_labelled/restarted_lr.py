"""A learning rate that decays in each part of a training."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from nnunet_ext.base.optimizers import Schedule


class RestartedLR:
    """A decay of the learning rate that starts again with each part of a training.

    Args:
        decay: The decay of the whole training; its length is changed.
        lengths: Epochs of each part, at least one.
        shares: What each part's rates are multiplied by; 1 if nothing is said.
    """

    def __init__(self, decay: Schedule, lengths: Sequence[int], shares: Sequence[float] = ()) -> None:
        self.decay = decay
        self.lengths = lengths
        self.starts = [0, *accumulate(lengths[:-1])]
        self.shares = shares

    def step(self, epoch: int) -> None:
        """Set the learning rate of an epoch."""
        part = bisect_right(self.starts, epoch) - 1
        self.decay.max_steps = self.lengths[part]
        self.decay.step(epoch - self.starts[part])
        if self.shares and self.shares[part] != 1:
            for group in self.decay.optimizer.param_groups:
                group["lr"] *= self.shares[part]
