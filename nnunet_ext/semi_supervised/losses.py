"""Probabilities of classes or regions."""

from __future__ import annotations

from torch import Tensor


def probabilities(logits: Tensor, *, regions: bool) -> Tensor:
    """Return float32 probabilities, whatever the precision of the logits.

    Args:
        logits: (B, K, D, H, W) or (B, K, H, W).
        regions: The channels are regions, which may overlap: sigmoid. Else they are classes: softmax over them.
    """
    logits = logits.float()
    return logits.sigmoid() if regions else logits.softmax(1)
