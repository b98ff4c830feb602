"""A teacher: the moving average of the trained network."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import nn

from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.networks.lora import merge_lora
from nnunet_ext.semi_supervised.trainer import SemiSupervisedTrainer


class Ema:
    """Moving average of a network's parameters and buffers [0], itself a network, in eval mode and without gradients.

    It lives outside the trained network: not in its state dict, its optimizer, DDP or torch.compile. DDP ranks whose
    networks are equal have equal averages.

    The average of a network with LoRA is that of its adapted weights.

    Args:
        network: The trained network, without wrappers.
        decay: Share of the average that is kept in an update. It grows up to this: 1 - 1 / (updates + 1) at most, so
            the first update copies the network.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network)
        merge_lora(self.network)
        self.network.eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards ``network``; whole numbers, such as a count of batches, are copied."""
        decay = min(1 - 1 / (self.updates + 1), self.decay)
        self.updates += 1
        weights = network.state_dict()
        if weights.keys() != self.network.state_dict().keys():
            raise ValueError("expected the network that the average began with, got one with other tensors")
        for name, own in (*self.network.named_parameters(), *self.network.named_buffers()):
            theirs = weights[name]
            if own.is_floating_point():
                own.lerp_(theirs, 1 - decay)
            else:
                own.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        """Return weights and number of updates, for a checkpoint."""
        return {"network": self.network.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.updates = state["updates"]


class FollowedByTeacher(ExtTrainer):
    """Mix-in for trainers: the network, the student, is followed by an :class:`Ema`, its teacher.

    The teacher is made of the student when it is first needed, after all weights are loaded, and moves after every
    step. It is outside ``self.network``, so checkpoints predict with the student. It is saved and restored.
    """

    _teacher: Ema | None = None

    @property
    def ema_decay(self) -> float | None:
        """Share of the teacher that is kept in a step; None if there is no teacher."""
        decay: float | None = self.knobs["unlabelled"]["ema_decay"]
        return decay

    def teacher(self) -> Ema:
        """Return the teacher, whose network returns logits of full resolution."""
        if self._teacher is None:
            assert self.ema_decay is not None
            self._teacher = Ema(self.bare_network, self.ema_decay)
            cast(Any, self._teacher.network).decoder.deep_supervision = False
        return self._teacher

    def train_step(self, batch: dict) -> dict:
        """Step of the student, then the teacher follows."""
        if self.ema_decay is None:
            return super().train_step(batch)
        teacher = self.teacher()
        output = super().train_step(batch)
        teacher.update(self.bare_network)
        return output

    def extra_state(self) -> dict[str, Any]:
        """Return the teacher's state."""
        if self.ema_decay is None:
            return super().extra_state()
        return super().extra_state() | {"teacher": self.teacher().state_dict()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the teacher; without one it restarts from the student."""
        super().load_extra_state(state)
        self._teacher = None
        if self.ema_decay is None:
            return
        if "teacher" in state:
            self.teacher().load_state_dict(state["teacher"])
        else:
            self.print_to_log_file("WARNING: the checkpoint holds no teacher, which restarts from the student")


class TeacherTrainer(FollowedByTeacher, SemiSupervisedTrainer):
    """A :class:`SemiSupervisedTrainer` whose network, the student, is followed by an :class:`Ema`, its teacher."""
