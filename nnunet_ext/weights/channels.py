"""The first convolution for other input channels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

CHANNEL_RULES = ("match", "mean", "copy", "fresh")


def fitted_channels(
    weight: Tensor, channels: int, rule: str, theirs: Sequence[str] | None, ours: Sequence[str] | None
) -> tuple[Tensor, str] | None:
    """Return the first convolution's weight for other input channels, and what was done; None: it is to stay fresh.

    * ``match``: a channel takes the kernels of the channel of its name (upper and lower case are the same), one without
      partner the mean of all kernels. If no name matches, or names are not known: by position if there are as many
      channels, else ``mean``.
    * ``mean``: every channel takes the sum of all kernels, divided by the number of channels here.
    * ``copy``: channel c takes the kernels of channel c modulo those of the file, divided by the number of channels
      that take the same.
    * ``fresh``: nothing is taken.

    With ``mean``, the response to an image whose channels are all equal stays what it was: from one channel to C each
    takes w / C, from C channels to one it takes the sum.

    Args:
        weight: (O, channels of the file, ...).
        channels: Number of input channels wanted.
        rule: One of :data:`CHANNEL_RULES`.
        theirs: Names of the file's channels; None: not known.
        ours: Names of the channels here; None: not known.

    Example:
        >>> import torch
        >>> from nnunet_ext.weights.channels import fitted_channels
        >>> fitted_channels(torch.tensor([[1.0, 2.0]]), 3, "match", ["T1", "T2"], ["T2", "PET", "t1"])
        (tensor([[2.0000, 1.5000, 1.0000]]), 'channels T2, t1 by name; PET: mean of the file')
    """
    before = weight.shape[1]
    theirs = theirs if theirs is not None and len(theirs) == before else None
    ours = ours if ours is not None and len(ours) == channels else None
    if rule == "fresh":
        return None
    if rule == "copy":
        return _copied(weight, channels)
    if rule == "match":
        pairs = partners(theirs, ours)
        if pairs and theirs is not None and ours is not None:
            return _matched(weight, pairs, theirs, ours)
        if before == channels:
            unknown = theirs is None or ours is None
            return weight, f"channels by position: {'names unknown' if unknown else 'no name matches'}"
    if before == channels == 1:
        return weight, ""
    summed = weight.sum(1, keepdim=True) / channels
    words = "kernels of" if before == 1 else f"sum of {before} channels in"
    size = [-1] * weight.ndim
    size[1] = channels
    return summed.expand(size), f"{words} the file{f', divided by {channels}' if channels > 1 else ''}"


def partners(theirs: Sequence[str] | None, ours: Sequence[str] | None) -> dict[int, int]:
    """Return for our channels those of the file with the same name; of equal names, each has one partner."""
    free: dict[str, list[int]] = defaultdict(list)
    for number, name in enumerate(theirs or ()):
        free[name.casefold()].append(number)
    candidates = ((number, free[name.casefold()]) for number, name in enumerate(ours or ()))
    return {number: there.pop(0) for number, there in candidates if there}


def _matched(weight: Tensor, pairs: dict[int, int], theirs: Sequence[str], ours: Sequence[str]) -> tuple[Tensor, str]:
    if list(pairs.items()) == [(number, number) for number in range(len(theirs))] and len(theirs) == len(ours):
        return weight, ""
    mean = weight.mean(1)
    columns = [weight[:, pairs[number]] if number in pairs else mean for number in range(len(ours))]
    told = [f"channels {', '.join(ours[number] for number in sorted(pairs))} by name"]
    if alone := [name for number, name in enumerate(ours) if number not in pairs]:
        told.append(f"{', '.join(alone)}: mean of the file")
    if left := [name for number, name in enumerate(theirs) if number not in pairs.values()]:
        told.append(f"not taken: {', '.join(left)}")
    return torch.stack(columns, 1), "; ".join(told)


def _copied(weight: Tensor, channels: int) -> tuple[Tensor, str]:
    before = weight.shape[1]
    if before == channels:
        return weight, "channels by position"
    source = [number % before for number in range(channels)]
    shares = torch.tensor([source.count(number) for number in source], dtype=weight.dtype)
    shares = shares.to(weight.device).reshape(1, channels, *[1] * (weight.ndim - 2))
    words = "repeated, each divided by its number" if channels > before else f"the first {channels}"
    return weight[:, source] / shares, f"channels of the file by position, {words}"
