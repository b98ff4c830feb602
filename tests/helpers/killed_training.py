"""A training that ends between two epochs as if it were killed."""

from __future__ import annotations

from typing import Any

import pytest


class KilledError(Exception):
    """Stands for a kill."""


def train_until_killed(trainer: Any, epoch: int, *, at: str = "on_epoch_start") -> None:
    """Train, and stop at the start of an epoch.

    Args:
        trainer: A trainer of nnU-Net's or ours.
        epoch: The epoch that is not trained any more.
        at: The method in which it is killed.
    """
    start = getattr(trainer, at)

    def dies() -> None:
        if trainer.current_epoch == epoch:
            raise KilledError
        start()

    setattr(trainer, at, dies)
    with pytest.raises(KilledError):
        trainer.run_training()
