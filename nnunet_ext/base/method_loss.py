"""The loss of a method, around nnU-Net's own."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from typing_extensions import Self

Target = Tensor | list[Tensor]


@dataclass
class TrainingStep:
    """What a training step passes to its loss besides the network's output, and what the loss passes back.

    It takes the place of the target in nnU-Net's own ``train_step``. A method whose loss needs more than the labels
    derives from it, and its trainer makes one in each step.

    Args:
        target: Labels of the labelled samples, (B, 1 or R, D, H, W), or their list over scales, full resolution first.
            With regions and an ignore label, a last channel more marks the ignored voxels.

    Attributes:
        parts: The terms of the loss, detached, by name; written by :class:`MethodLoss`.
    """

    target: Target
    parts: dict[str, Tensor] = field(default_factory=dict, init=False)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        """Move the target to a device, as nnU-Net's step does with a tensor, and return the same step."""
        scales = self.target if isinstance(self.target, list) else [self.target]
        moved = [scale.to(device, non_blocking=non_blocking) for scale in scales]
        self.target = moved if isinstance(self.target, list) else moved[0]
        return self


class MethodLoss(nn.Module, abc.ABC):
    """Base of the losses of methods: terms with names in training, nnU-Net's own loss in validation.

    A method derives from it, names its terms in ``parts`` and computes them in :meth:`training_loss`. Without a
    :class:`TrainingStep`, as in validation, it is ``supervised`` alone: that is the validation loss in nnU-Net's log.

    Args:
        supervised: nnU-Net's own loss, usually ``super()._build_loss()`` of the trainer.

    Attributes:
        parts: Names of the terms, which are logged, saved in checkpoints and drawn into ``progress_parts.png``.
    """

    parts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, supervised: nn.Module) -> None:
        super().__init__()
        self.supervised = supervised

    def forward(self, output: Any, target: Target | TrainingStep) -> Tensor:
        """Return the loss.

        Args:
            output: The network's output in train mode; with a plain target: logits, or their list over scales.
            target: A training step; or labels (B, 1 or R, D, H, W), or their list over scales.

        Raises:
            ValueError: :meth:`training_loss` returned other terms than ``parts`` names.
        """
        if not isinstance(target, TrainingStep):
            return self.supervised(output, target)
        value, parts = self.training_loss(output, target)
        if parts.keys() != set(self.parts):
            raise ValueError(
                f"{type(self).__name__}: expected the terms {sorted(self.parts)}, which 'parts' names, got "
                f"{sorted(parts)}; return each of them from training_loss"
            )
        target.parts = {name: part.detach() for name, part in parts.items()}
        return value

    @abc.abstractmethod
    def training_loss(self, output: Any, step: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss of a training step and its terms by name, one for each of ``parts``."""
