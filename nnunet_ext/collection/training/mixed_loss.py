"""The loss of a batch whose samples are of several tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnunet_ext.base.method_loss import TrainingStep


@dataclass
class MixedStep(TrainingStep):
    """A training step with samples of several tasks.

    Args:
        target: The targets over scales of the first task's samples, then those of the second, and so on.
        tasks: (B), the samples' tasks, ascending.
        valid: (B, H), which heads each sample has labels for.

    Attributes:
        by_task: Loss of each task that occurs; written by :class:`MixedLoss`.
    """

    tasks: NDArray[np.int64]
    valid: NDArray[np.bool_]
    by_task: dict[int, float] = field(default_factory=dict, init=False)


class MixedLoss(nn.Module):
    """Mean over samples of the loss of their own task.

    Samples of the same task go through that task's loss together, with the heads that are valid for them; where it has
    an ignore label, they share one cross-entropy over their annotated voxels, as in stock nnU-Net. The logits are those
    of all shared heads, the targets those of a :class:`~nnunet_ext.collection.training.loaders.MixedLoader`.

    Args:
        losses: Loss of each task, for logits and targets that are lists over scales, or tensors without deep
            supervision; a mean over samples.
    """

    def __init__(self, losses: Sequence[nn.Module]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)

    def forward(self, logits: Tensor | list[Tensor], step: MixedStep) -> Tensor:
        """Return the loss of logits (B, H, D, H, W), or their list over scales; the step gets each task's."""
        scales = logits if isinstance(logits, list) else [logits]
        total = torch.zeros((), device=scales[0].device)
        for place, task in enumerate(np.unique(step.tasks)):
            samples = np.flatnonzero(step.tasks == task)
            heads = torch.from_numpy(np.flatnonzero(step.valid[samples[0]])).to(scales[0].device)
            rows = slice(samples[0], samples[-1] + 1)
            mine = [scale[rows].index_select(1, heads) for scale in scales]
            theirs = step.target[place * len(scales) : (place + 1) * len(scales)]
            loss = self.losses[task](*((mine, theirs) if isinstance(logits, list) else (mine[0], theirs[0])))
            step.by_task[int(task)] = float(loss.detach())
            total = total + loss * (len(samples) / len(step.tasks))
        return total
