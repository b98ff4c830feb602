"""How the epochs of a training are shared between its parts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def part_lengths(epochs: int, supervised: float, rounds: int, last: float) -> tuple[int, ...]:
    """Return the epochs on labels, of each round, and of fine-tuning on labels, if there is any.

    Every part has at least one epoch. If there are too few for all, the later rounds are left out, then fine-tuning.

    Args:
        epochs: Of the training.
        supervised: Share of the first part.
        rounds: Number of rounds, which share what is left; 0: the training has a single part.
        last: Share of fine-tuning; 0: none.

    Example:
        >>> from nnunet_ext.methods.self_training.part_lengths import part_lengths
        >>> part_lengths(110, 0.55, 2, 0.0)
        (61, 24, 25)
        >>> part_lengths(100, 0.5, 2, 0.1)
        (50, 20, 20, 10)
        >>> part_lengths(2, 0.55, 2, 0.1)
        (1, 1)
    """
    if rounds == 0 or epochs == 1:
        return (epochs,)
    ends = bool(last) and epochs > 2
    rounds = min(rounds, epochs - 1 - ends)
    shares = [supervised, *[(1 - supervised - last * ends) / rounds] * rounds, *[last] * ends]
    bounds = [0]
    for place, share in enumerate(np.cumsum(shares), start=1):
        bounds.append(max(bounds[-1] + 1, min(round(share * epochs), epochs - len(shares) + place)))
    return tuple(end - start for start, end in pairwise(bounds))
