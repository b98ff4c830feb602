"""The range in which the styles of the last steps lie."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from nnunet_ext.methods.domain_randomisation.style import Style

STEPS = 100
QUANTILES = (0.05, 0.95)


class RunningRange:
    """Where channel means and standard deviations lay in the last 100 steps, over all samples and channels."""

    def __init__(self) -> None:
        self._seen: deque[Tensor] = deque(maxlen=STEPS)  # (2, B * C) of each step

    def see(self, style: Style) -> None:
        """Add the style of a step's features."""
        self._seen.append(torch.stack((style.mean.flatten(), style.deviation.flatten())))

    def limits(self) -> Tensor:
        """Return the 5th and the 95th percentile (rows) of means and standard deviations (columns)."""
        seen = torch.cat([each.to(self._seen[-1].device) for each in self._seen], dim=1)
        return torch.quantile(seen, seen.new_tensor(QUANTILES), dim=1)

    def state(self) -> list[Tensor]:
        """Return what was seen, for a checkpoint."""
        return [each.cpu() for each in self._seen]

    def load_state(self, state: Sequence[Tensor]) -> None:
        """Restore what :meth:`state` returned."""
        self._seen = deque(state, maxlen=STEPS)
