"""A target at another resolution."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def target_at(target: Tensor, size: Sequence[int]) -> Tensor:
    """Return a target, or a mask, as nnU-Net makes it for deep supervision.

    Args:
        target: (B, C, D, H, W) or (B, C, H, W).
        size: (D, H, W) or (H, W).
    """
    if target.shape[2:] == tuple(size):
        return target
    return functional.interpolate(target.float(), size=tuple(size), mode="nearest-exact").to(target.dtype)
