"""Foreground of tasks: in labels, in logits, of all tasks together, and where a task is not annotated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nnunet_ext.semi_supervised.losses import probabilities


@dataclass(frozen=True)
class TaskLabels:
    """The labels of a task.

    Args:
        heads: Its logits: classes with background, or regions.
        regions: The heads are regions.
        ignore_label: The label of ignored voxels, for classes; None if there is none.
    """

    heads: int
    regions: bool = False
    ignore_label: int | None = None

    def foreground(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return where a target (B, 1 or R, D, H, W) has any class or region, and where it is not ignored; (B, 1, ...).

        Args:
            target: As nnU-Net's loaders make it; with regions and an ignore label, the last channel marks ignored.
        """
        if self.regions:
            ignored = target[:, self.heads :].bool().any(1, keepdim=True)
            return target[:, : self.heads].bool().any(1, keepdim=True) & ~ignored, ~ignored
        ignored = torch.zeros_like(target, dtype=torch.bool)
        if self.ignore_label is not None:
            ignored = target == self.ignore_label
        return (target > 0) & ~ignored, ~ignored


def foregrounds(logits: Tensor, tasks: Sequence[TaskLabels]) -> Tensor:
    """Return the foreground probability of each task, float32 (B, T, D, H, W).

    Of classes it is 1 - that of the background, of regions the largest.

    Args:
        logits: Of all tasks side by side, (B, K1 + K2 + ..., D, H, W).
        tasks: Their labels.
    """
    found = []
    for own, task in zip(logits.split([task.heads for task in tasks], 1), tasks, strict=True):
        of_each = probabilities(own, regions=task.regions)
        found.append(of_each.amax(1, keepdim=True) if task.regions else 1 - of_each[:, :1])
    return torch.cat(found, 1)


def aggregated(foreground: Tensor, how: str) -> Tensor:
    """Return the foreground probability of all tasks together, (B, 1, D, H, W).

    Args:
        foreground: Of each task, (B, T, D, H, W).
        how: ``"max"``, or ``"noisy_or"``: 1 - prod(1 - q).
    """
    if how == "max":
        return foreground.amax(1, keepdim=True)
    return 1 - (1 - foreground).prod(1, keepdim=True)


def found_by_others(foreground: Tensor, annotated: Tensor, threshold: float) -> Tensor:
    """Return where a task that is not annotated finds foreground, (B, 1, D, H, W).

    Args:
        foreground: Of each task, (B, T, D, H, W).
        annotated: (B), the place among the T of the task that is annotated in each sample.
        threshold: Probability that is exceeded.
    """
    own = annotated[:, None] == torch.arange(foreground.shape[1], device=annotated.device)
    own = own.view(*own.shape, *[1] * (foreground.ndim - 2))
    return foreground.detach().masked_fill(own, 0).amax(1, keepdim=True) > threshold
