"""The loss of a batch whose samples are of several tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class MixedLoss(nn.Module):
    """Mean over samples of the loss of their own task.

    Samples of equal task go through that task's loss together, with the heads that are valid for them; where it has an
    ignore label, they share one cross-entropy over their annotated voxels, as in stock nnU-Net. The logits are those of
    all shared heads, the targets those of a :class:`~nnunet_ext.collection.training.loaders.MixedLoader`.

    Args:
        losses: Loss of each task, for logits and targets that are lists over scales, or tensors without deep
            supervision; a mean over samples.

    Attributes:
        by_task: Loss of each task in the last batch, NaN for those that did not occur.
    """

    def __init__(self, losses: Sequence[nn.Module]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)
        self.by_task = np.full(len(losses), math.nan)

    def on_batch(self, tasks: NDArray[np.int64], valid: NDArray[np.bool_]) -> None:
        """Say what the next batch holds.

        Args:
            tasks: (B), ascending.
            valid: (B, H), which heads each sample has labels for.
        """
        self._tasks, self._valid = tasks, valid

    def forward(self, logits: Tensor | list[Tensor], target: list[Tensor]) -> Tensor:
        """Return the loss of logits (B, H, D, H, W), or their list over scales."""
        scales = logits if isinstance(logits, list) else [logits]
        found: dict[int, Tensor] = {}
        total = torch.zeros((), device=scales[0].device)
        for place, task in enumerate(np.unique(self._tasks)):
            samples = np.flatnonzero(self._tasks == task)
            heads = torch.from_numpy(np.flatnonzero(self._valid[samples[0]])).to(scales[0].device)
            rows = slice(samples[0], samples[-1] + 1)
            mine = [scale[rows].index_select(1, heads) for scale in scales]
            theirs = target[place * len(scales) : (place + 1) * len(scales)]
            both = (mine, theirs) if isinstance(logits, list) else (mine[0], theirs[0])
            found[task] = self.losses[task](*both)
            total = total + found[task] * (len(samples) / len(self._tasks))
        self.by_task = np.full(len(self.losses), math.nan)
        for task, loss in found.items():
            self.by_task[task] = float(loss.detach())
        return total
