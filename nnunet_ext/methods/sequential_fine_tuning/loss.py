"""The loss of sequential fine-tuning: distances between features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nnunet_ext.base.method_loss import MethodLoss, TrainingStep
from nnunet_ext.methods.sequential_fine_tuning.architecture import Features


@dataclass
class RetentionStep(TrainingStep):
    """A training step, whose target is not used.

    Args:
        target: Empty.
        task: Features of the new data's samples in the model that was fine-tuned on them; one (B, C, D, H, W) a stage.
        earlier: Features of the earlier data's samples in the earlier model; empty if there are no such samples.
        weight: Weight of the difference to ``earlier``.
    """

    task: list[Tensor]
    earlier: list[Tensor]
    weight: float


class RetentionLoss(MethodLoss):
    """Difference of the features to two models: of new data to one, of earlier data to the other.

    The difference is the squared one relative to the model's own features, ||a - b||^2 / ||b||^2, for each stage and
    sample; it is averaged over samples, then over stages, in full precision, also under autocast.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from nnunet_ext.methods.sequential_fine_tuning.architecture import Features
        >>> from nnunet_ext.methods.sequential_fine_tuning.loss import RetentionLoss, RetentionStep
        >>> both = Features([torch.tensor([[[[3.0]]], [[[1.0]]]])])  # a sample of new data, one of earlier data
        >>> step = RetentionStep(torch.empty(0), [torch.full((1, 1, 1, 1), 2.0)], [torch.full((1, 1, 1, 1), 2.0)], 4.0)
        >>> RetentionLoss(nn.Identity())(both, step)  # 1 / 4 + 4 x 1 / 4
        tensor(1.2500)
    """

    parts: ClassVar = ("task_features", "earlier_features")

    def training_loss(self, output: Features, step: RetentionStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its two terms.

        Args:
            output: Features of the new data's samples and, after them, of the earlier data's.
            step: Those of the two models.
        """
        count = len(step.task[0])
        task = _difference([stage[:count] for stage in output.stages], step.task)
        earlier = torch.zeros_like(task)
        if step.earlier:
            earlier = _difference([stage[count:] for stage in output.stages], step.earlier)
        return task + step.weight * earlier, {"task_features": task, "earlier_features": earlier}


def _difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> Tensor:
    with torch.autocast(found[0].device.type, enabled=False):
        return torch.stack([_relative(a.float(), b.float()) for a, b in zip(found, expected, strict=True)]).mean()


def _relative(found: Tensor, expected: Tensor) -> Tensor:
    """Return the mean over samples of the squared error relative to what is expected."""
    error, size = (each.flatten(1).square().sum(1) for each in (found - expected, expected))
    return (error / size.clamp(min=torch.finfo(torch.float32).tiny)).mean()
