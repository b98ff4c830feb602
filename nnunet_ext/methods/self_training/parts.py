"""How the epochs of a training are shared between its parts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Parts:
    """Numbers of epochs.

    Args:
        supervised: On labels, before the first prediction.
        rounds: Of each round.
        last: On labels, after the last round; 0: none.
    """

    supervised: int
    rounds: tuple[int, ...] = ()
    last: int = 0

    @property
    def lengths(self) -> tuple[int, ...]:
        """Epochs of each part that there is, in order."""
        return (self.supervised, *self.rounds, *([self.last] if self.last else []))


def share_epochs(epochs: int, supervised: float, rounds: int, last: float) -> Parts:
    """Share the epochs of a training; every part has at least one.

    If there are too few for all parts, the later rounds are left out, then the last part.

    Args:
        epochs: Of the training.
        supervised: Share of the first part.
        rounds: Number of rounds, which share what is left; 0: there is only the first part.
        last: Share of the last part.

    Example:
        >>> from nnunet_ext.methods.self_training.parts import share_epochs
        >>> share_epochs(1000, 0.55, 2, 0.0)
        Parts(supervised=550, rounds=(225, 225), last=0)
        >>> share_epochs(100, 0.5, 2, 0.1).lengths
        (50, 20, 20, 10)
    """
    if rounds == 0 or epochs == 1:
        return Parts(epochs)
    ends = bool(last) and epochs > 2
    rounds = min(rounds, epochs - 1 - ends)
    shares = [supervised, *[(1 - supervised - last * ends) / rounds] * rounds, *[last] * ends]
    bounds = [0]
    for place, share in enumerate(np.cumsum(shares), start=1):
        bounds.append(max(bounds[-1] + 1, min(round(share * epochs), epochs - len(shares) + place)))
    first, *others = (end - start for start, end in pairwise(bounds))
    return Parts(first, tuple(others[:rounds]), others[-1] if ends else 0)
