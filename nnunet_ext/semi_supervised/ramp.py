"""How the weight of unlabelled samples grows."""

from __future__ import annotations

import math


def gaussian_ramp(step: int, length: float) -> float:
    """Return exp(-5 (1 - t)^2), where t grows from 0 to 1 over ``length`` steps; always 1 if ``length`` is 0.

    [0] Laine and Aila, Temporal ensembling for semi-supervised learning, ICLR 2017, https://arxiv.org/abs/1610.02242
    """
    t = min(step / length, 1.0) if length > 0 else 1.0
    return math.exp(-5 * (1 - t) ** 2)
