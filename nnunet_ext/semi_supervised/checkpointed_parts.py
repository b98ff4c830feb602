"""A batch whose parts go through the network one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


class CheckpointedParts(nn.Module):
    """A network that sees the parts of a batch one by one: the gradients of the whole batch, the memory of one part.

    The graph of the last part is kept. Each earlier part keeps only its images and runs again in the backward pass,
    when the graph of the part after it is gone; dropout then draws the same channels again. That costs a forward pass
    of these parts. The network's norm must not mix samples (:func:`mixes_samples`).

    Args:
        network: Takes and returns tensors, or nested lists and tuples of them, whose first axis is the batch; None may
            stand for a tensor.
        sizes: Samples of each part.
    """

    def __init__(self, network: nn.Module, sizes: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.sizes = list(sizes)

    def forward(self, batch: Any) -> Any:
        """Return what the network returns for the whole batch."""
        *others, last = split(batch, self.sizes)
        outputs = [checkpoint(self.network, part, use_reentrant=False) for part in others]
        return joined([*outputs, self.network(last)])


def mixes_samples(network: nn.Module) -> bool:
    """Tell whether a sample's output depends on the other samples of a batch: whether there is batch norm."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def split(batch: Any, sizes: list[int]) -> list[Any]:
    """Split tensors along their first axis, in nested lists and tuples; None stays None."""
    if batch is None:
        return [None] * len(sizes)
    if isinstance(batch, Tensor):
        return list(batch.split(sizes))
    columns = [split(each, sizes) for each in batch]
    return [_like(batch, [column[part] for column in columns]) for part in range(len(sizes))]


def joined(parts: Sequence[Any]) -> Any:
    """Undo :func:`split`."""
    if parts[0] is None:
        return None
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    return _like(parts[0], [joined(column) for column in zip(*parts, strict=True)])


def _like(example: Any, items: list[Any]) -> Any:
    """Return a list, a tuple or a named tuple, as the example is."""
    return type(example)(*items) if hasattr(example, "_fields") else type(example)(items)
