"""A learning rate that falls in steps."""

from __future__ import annotations

from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler


class SteppedLR(PolyLRScheduler):
    """A tenth of the learning rate after each sixth of the training, as semi-supervised papers have it.

    Arguments are those of nnU-Net's polynomial decay; ``exponent`` means nothing.
    """

    def step(self, current_step: int | None = None) -> None:
        """Set the learning rate of an epoch; the next one's if none is given."""
        if current_step is None or current_step == -1:
            current_step = self.ctr
            self.ctr += 1
        rate = self.initial_lr * 0.1 ** (6 * current_step // self.max_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._last_lr = [rate for _ in self.optimizer.param_groups]
