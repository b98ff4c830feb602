"""VerSemi's loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnunet_ext.base.method_loss import MethodLoss
from nnunet_ext.collection.training.mixed_loss import MixedStep
from nnunet_ext.methods.versemi.architecture import VerSemiOutput
from nnunet_ext.methods.versemi.foreground import TaskLabels, aggregated, foregrounds, found_by_others
from nnunet_ext.methods.versemi.mixing import Mixes
from nnunet_ext.semi_supervised.losses import PartialLoss

SMOOTH = 1e-5


@dataclass
class VerSemiStep(MixedStep):
    """A training step with mixed samples.

    Args:
        target: See :class:`MixedStep`.
        tasks: See :class:`MixedStep`.
        valid: See :class:`MixedStep`.
        mixes: Which samples are mixed.
        labels: Full-resolution target of each labelled sample, (1, 1 or R, D, H, W).
        fitting: The tasks whose foreground is wanted, ascending.
        teachers: Their foreground probabilities by the teacher, (P + F, T, D, H, W), or of frames alone, (F, ...); None
            if the network's own are taken.
        ramp: What the weight of the agreement is multiplied by.

    Attributes:
        foreground: Mean foreground probability of each fitting task on the unlabelled voxels, if there are any; written
            by :class:`VerSemiLoss`.
    """

    mixes: Mixes
    labels: Sequence[Tensor]
    fitting: Sequence[int]
    teachers: Tensor | None = None
    ramp: float = 1.0
    foreground: dict[int, float] = field(default_factory=dict, init=False)


class VerSemiLoss(MethodLoss):
    """DoDNet's loss of labelled samples in mixed batches, and four terms of mixed samples [0].

    * ``synthetic_loss``: on pairs of labelled images, the synthetic task against the foreground of any task;
    * ``specific_loss``: on the same pairs, nnU-Net's loss of both images' own tasks, each where its image is;
    * ``consistency_loss``: on unlabelled images with a labelled box, the synthetic task against all tasks together;
    * ``box_loss``: on the same images, the synthetic task against the foreground in the box.

    Those of the synthetic task are Dice with squares, of each sample, and binary cross-entropy. Voxels labelled as
    background where a task that is not annotated finds foreground do not count in the first and the last; ``masked``
    is their share of the labelled background.

    Args:
        supervised: Of mixed batches.
        partial: nnU-Net's loss of each task, at full resolution.
        labels: Of each task.
        weights: Of the four terms, in their order.
        aggregate: How tasks are taken together, see :func:`aggregated`.
        threshold: What counts as found by a task that is not annotated; None: all labelled background counts, and so
            does the other image of a pair, as background.

    [0] Zeng et al., Segment together, IEEE TMI 2025, https://arxiv.org/abs/2311.11686
    """

    parts: ClassVar = (
        "supervised_loss",
        "synthetic_loss",
        "specific_loss",
        "consistency_loss",
        "box_loss",
        "masked",
    )

    def __init__(
        self,
        supervised: nn.Module,
        partial: Sequence[nn.Module],
        labels: Sequence[TaskLabels],
        *,
        weights: Sequence[float] = (1, 1, 1, 1),
        aggregate: str = "max",
        threshold: float | None = 0.5,
    ) -> None:
        super().__init__(supervised)
        self.partial = nn.ModuleList(
            PartialLoss(loss, regions=task.heads if task.regions else None, ignore_label=task.ignore_label)
            for loss, task in zip(partial, labels, strict=True)
        )
        self.labels = tuple(labels)
        self.weights = tuple(weights)
        self.aggregate = aggregate
        self.threshold = threshold

    def training_loss(self, output: VerSemiOutput, step: VerSemiStep) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss and its terms.

        Args:
            output: Of labelled and mixed samples.
            step: Labels, mixes and what the teacher finds.
        """
        supervised = self.supervised(output.logits, step)
        pairs, synthetic = len(step.mixes.outside), output.synthetic.float()
        found = step.teachers
        if found is None and output.tasks is not None:
            found = foregrounds(output.tasks, [self.labels[task] for task in step.fitting])
        target, counted, masked = self._synthetic_target(step, found)
        frames, nothing = len(step.mixes.framed), synthetic.sum() * 0
        agreement = nothing
        if frames and found is not None:
            everywhere = torch.ones_like(counted[pairs:])
            agreement = binary_loss(synthetic[pairs:], aggregated(found[-frames:], self.aggregate), everywhere)
            unlabelled = found.detach()[-frames:].masked_fill(step.mixes.boxes[pairs:], 0).sum((0, 2, 3, 4))
            unlabelled = unlabelled / (~step.mixes.boxes[pairs:]).sum()
            step.foreground = dict(zip(map(int, step.fitting), unlabelled.tolist(), strict=True))
        terms = {
            "synthetic_loss": binary_loss(synthetic[:pairs], target[:pairs], counted[:pairs]),
            "specific_loss": self._specific(output, step) if self.weights[1] and pairs else nothing,
            "consistency_loss": agreement,
            "box_loss": binary_loss(synthetic[pairs:], target[pairs:], counted[pairs:]),
        }
        factors = (*self.weights[:2], self.weights[2] * step.ramp, self.weights[3])
        total = supervised + nothing  # DDP needs a gradient of the synthetic task in every step
        for factor, term in zip(factors, terms.values(), strict=True):
            total = total + factor * term
        return total, {"supervised_loss": supervised, **terms, "masked": masked}

    def _synthetic_target(self, step: VerSemiStep, found: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the foreground of the mixed samples, where it counts, and the masked share of the background."""
        mixes, of_samples = step.mixes, []
        for task, target in zip(step.tasks, step.labels, strict=True):
            of_samples.append(self.labels[task].foreground(target))
        foreground, annotated = (torch.cat(maps) for maps in zip(*of_samples, strict=True))
        target, counted = mixes.maps(foreground, False), mixes.maps(annotated, False)
        masked = torch.zeros((), device=target.device)
        if self.threshold is not None and found is not None and len(step.fitting) > 1 and len(found) == len(mixes):
            places = {task: place for place, task in enumerate(step.fitting)}
            of_task = torch.tensor([places[int(task)] for task in step.tasks], device=target.device)
            inside = found_by_others(found, mixes.boxed(of_task), self.threshold)
            outside = inside.clone()
            outside[: len(mixes.outside)] = found_by_others(
                found[: len(mixes.outside)], of_task[list(mixes.outside)], self.threshold
            )
            background = counted & ~target
            hidden = background & torch.where(mixes.boxes, inside, outside)
            masked = hidden.sum() / background.sum().clamp(min=1)
            counted = counted & ~hidden
        return target, counted, masked

    def _specific(self, output: VerSemiOutput, step: VerSemiStep) -> Tensor:
        """Return nnU-Net's loss of the tasks of each pair's images, each on its own part."""
        mixes, total = step.mixes, output.outside.sum() * 0
        for pair, samples in enumerate(zip(mixes.outside, mixes.inside, strict=True)):
            box = mixes.boxes[pair : pair + 1]
            tasks = [int(step.tasks[sample]) for sample in samples]
            for side, (sample, place) in enumerate(zip(samples, (~box, box), strict=True)):
                own, other = step.labels[sample], step.labels[samples[1 - side]]
                target, hidden = own, ~place
                if tasks[0] == tasks[1]:
                    target, hidden = torch.where(place, own, other), torch.zeros_like(place)
                elif self.threshold is None:
                    target, hidden = torch.where(place, own, 0), torch.zeros_like(place)
                labels = self.labels[tasks[side]]
                if not (labels.foreground(target)[1] & ~hidden).any():
                    continue
                logits: Any = (output.outside, output.inside)[side]
                total = total + self.partial[tasks[side]](logits[pair : pair + 1, : labels.heads], target, hidden)
        return total / (2 * len(mixes.outside))


def binary_loss(logits: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Return 1 - Dice with squares + binary cross-entropy: of each sample, then the mean over samples.

    A sample without a voxel that counts has 0, and so has a batch without samples.

    Args:
        logits: (B, 1, D, H, W).
        target: (B, 1, D, H, W), bool or probabilities, which may get a gradient.
        counted: True where voxels count, (B, 1, D, H, W).
    """
    if not len(logits):
        return logits.sum() * 0
    target, weight = target.flatten(1).to(logits.dtype), counted.flatten(1).to(logits.dtype)
    logits = logits.flatten(1)
    p = logits.sigmoid()
    both, squares = (weight * p * target).sum(1), (weight * (p.square() + target.square())).sum(1)
    dice = (2 * both + SMOOTH) / (squares + SMOOTH)
    entropy = functional.softplus(logits) - logits * target
    return (1 - dice + (weight * entropy).sum(1) / weight.sum(1).clamp(min=1)).mean()
