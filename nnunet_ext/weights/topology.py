"""Whether two networks have the same tensors and channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from nnunet_ext.weights.channels import partners


def first_difference(ours: Mapping[str, Any], theirs: Mapping[str, Any], *, heads: bool = True) -> str | None:
    """Return in words where two networks' weights differ in names or shapes; None if they do not.

    Args:
        ours: State dict of one network; its order decides which difference is the first.
        theirs: That of the other one.
        heads: Also compare the segmentation heads, which depend on the number of classes.

    Example:
        >>> import torch
        >>> from nnunet_ext.weights.topology import first_difference
        >>> one, other = {"a": torch.zeros(2)}, {"a": torch.zeros(3), "b": torch.zeros(1)}
        >>> first_difference(one, other)
        "'a' of shape (3,) instead of (2,)"
    """
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        if not heads and "seg_layers" in name.split("."):
            continue
        if name not in theirs:
            return f"none of the name {name!r}"
        if name not in ours:
            return f"{name!r}, which is one too many"
        own, other = (
            tuple(each[name].shape) if isinstance(each[name], torch.Tensor) else () for each in (ours, theirs)
        )
        if own != other:
            return f"{name!r} of shape {other} instead of {own}"
    return None


def moved_channel(ours: Sequence[str] | None, theirs: Sequence[str] | None) -> str | None:
    """Return in words which input channel is at another place in the other network; None if none is known to be.

    Args:
        ours: Names of one network's channels; None: not known.
        theirs: Those of the other one.

    Example:
        >>> from nnunet_ext.weights.topology import moved_channel
        >>> moved_channel(["T1", "T2"], ["T2", "T1"])
        "'T1' as channel 1 instead of 0"
    """
    for number, partner in partners(theirs, ours).items():
        if number != partner:
            assert ours is not None
            return f"{ours[number]!r} as channel {partner} instead of {number}"
    return None
