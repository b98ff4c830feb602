"""A teacher: the exponential moving average of a network.

[0] Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017, https://arxiv.org/abs/1703.01780
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class Ema:
    """Moving average of a network's parameters and buffers [0], itself a network, in eval mode and without gradients.

    It lives outside the trained network: not in its state dict, its optimiser, DDP or torch.compile. DDP ranks whose
    networks are equal have equal averages.

    Args:
        network: The trained network, without wrappers.
        decay: Share of the average that stays in an update. It grows up to this: 1 - 1 / (updates + 1) at most, so
            the first update copies the network.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards ``network``; whole numbers, such as a count of batches, are copied."""
        decay = min(1 - 1 / (self.updates + 1), self.decay)
        self.updates += 1
        for own, theirs in zip(_tensors(self.network), _tensors(network), strict=True):
            if own.is_floating_point():
                own.lerp_(theirs, 1 - decay)
            else:
                own.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        """Return weights and number of updates, for a checkpoint."""
        return {"network": self.network.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.updates = state["updates"]


def _tensors(network: nn.Module) -> list[torch.Tensor]:
    return [*network.parameters(), *network.buffers()]
