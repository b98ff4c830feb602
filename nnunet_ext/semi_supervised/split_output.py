"""Labelled and unlabelled samples of what a network returns."""

from __future__ import annotations

from torch import Tensor

Logits = Tensor | list[Tensor]


def split_output(output: Logits, target: Logits) -> tuple[Logits, Logits]:
    """Split logits into those of the labelled samples, which come first and have a target, and of the others.

    Args:
        output: Logits (B, K, D, H, W), or their list over scales.
        target: Of the labelled samples, or its list over scales.
    """
    labelled = len(target[0] if isinstance(target, list) else target)
    if isinstance(output, list):
        return [scale[:labelled] for scale in output], [scale[labelled:] for scale in output]
    return output[:labelled], output[labelled:]
