"""Kernels of another size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def fitted_kernel(weight: Tensor, size: Sequence[int], *, transposed: bool) -> tuple[Tensor, str] | None:
    """Return a convolution's weight with another kernel size, and what was done; None if there is no rule for it.

    A smaller kernel goes into the middle of the larger one, the other planes are 0: exactly the same function. Planes
    that a smaller kernel lacks are added to its outermost ones, so that 3 -> 1 is the sum: the same response to an
    image that is constant along the axis. (nnssl takes the mean; where a norm follows, that is the same up to its
    epsilon.) Of transposed convolutions, whose kernel is their stride, each plane is repeated where the stride grows,
    and the mean is taken where it shrinks.

    Args:
        weight: (O, I, d, h, w) or (O, I, h, w); transposed (I, O, ...).
        size: The kernel size wanted, one number for each axis.
        transposed: Whether the convolution is a transposed one.

    Example:
        >>> import torch
        >>> from nnunet_ext.weights.kernels import fitted_kernel
        >>> weight, told = fitted_kernel(torch.ones(4, 1, 1, 3, 3), (3, 3, 3), transposed=False)
        >>> weight[0, 0, :, 0, 0].tolist(), told
        ([0.0, 1.0, 0.0], 'kernel 1x3x3 in the file, now in the middle of 3x3x3')
    """
    before, result = tuple(weight.shape[2:]), weight
    if len(before) != len(size):
        return None
    done: list[str] = []
    for axis, (old, new) in enumerate(zip(before, size, strict=True), start=2):
        if old != new:
            changed = (_restrided if transposed else _resized)(result, axis, old, new)
            if changed is None:
                return None
            result, how = changed
            done += [how] if how not in done else []
    return result, f"kernel {_words(before)} in the file, now {' and '.join(done)} {_words(size)}"


def _resized(weight: Tensor, axis: int, old: int, new: int) -> tuple[Tensor, str] | None:
    if old % 2 == 0 or new % 2 == 0:
        return None
    outside = abs(new - old) // 2
    if new > old:
        padding = [0, 0] * (weight.ndim - 1 - axis) + [outside, outside]
        return functional.pad(weight, padding), "in the middle of"
    kept = weight.narrow(axis, outside, new).clone()
    kept.narrow(axis, 0, 1).add_(weight.narrow(axis, 0, outside).sum(axis, keepdim=True))
    kept.narrow(axis, new - 1, 1).add_(weight.narrow(axis, outside + new, outside).sum(axis, keepdim=True))
    return kept, "summed to"


def _restrided(weight: Tensor, axis: int, old: int, new: int) -> tuple[Tensor, str] | None:
    if new % old == 0:
        return torch.repeat_interleave(weight, new // old, axis), "repeated to"
    if old % new == 0:
        shape = (*weight.shape[:axis], new, old // new, *weight.shape[axis + 1 :])
        return weight.reshape(shape).mean(axis + 1), "averaged to"
    return None


def _words(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
