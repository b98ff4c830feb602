"""A network between two others.

[0] Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, https://arxiv.org/abs/2109.01903 (WiSE-FT)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nnunet_ext.weights.topology import first_difference


def interpolate(
    old: Mapping[str, Tensor],
    new: Mapping[str, Tensor],
    weight: float,
    outputs: tuple[Sequence[str], Sequence[str]] | None = None,
) -> dict[str, Tensor]:
    """Return (1 - weight) old + weight new, tensor by tensor [0].

    A segmentation head has a row for each output of either network, in the order of :func:`joined_outputs`: a row of an
    output that both have is averaged like all weights, one that only one network has is taken from it as it is. Whole
    numbers are those of ``new``. Tensors that had several names in ``old`` stay one.

    Args:
        old: Weights of one network, by name.
        new: Weights of the other one, of the same names and, but for the heads' rows, shapes.
        weight: Share of ``new``, from 0 to 1.
        outputs: Names of the heads' rows in ``old`` and in ``new``; None: leave the heads of ``old`` as they are.

    Raises:
        ValueError: The networks differ; the message names the first tensor.

    Example:
        >>> import torch
        >>> from nnunet_ext.weights.interpolation import interpolate
        >>> old, new = {"a.weight": torch.tensor([1.0, 2.0])}, {"a.weight": torch.tensor([3.0, 6.0])}
        >>> interpolate(old, new, 0.25)
        {'a.weight': tensor([1.5000, 3.0000])}
    """
    if (found := first_difference(old, new, heads=False)) is not None:
        raise ValueError(f"expected two networks with the same tensors, found {found}")
    made: dict[tuple[int, tuple[int, ...]], Tensor] = {}
    result = {}
    for name, tensor in old.items():
        key = tensor.data_ptr(), tuple(tensor.shape)
        if key not in made:
            if "seg_layers" not in name.split("."):
                made[key] = _between(tensor, new[name], weight)
            elif outputs is None:
                made[key] = tensor.clone()
            else:
                made[key] = _rows(name, tensor, new, weight, outputs)
        result[name] = made[key]
    return result


def joined_outputs(old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    """Return all outputs: those of ``old``, then those that only ``new`` has."""
    return (*old, *(name for name in new if name not in old))


def _between(old: Tensor, new: Tensor, weight: float) -> Tensor:
    return old.lerp(new.to(old), weight) if old.is_floating_point() else new.clone()


def _rows(
    name: str, old: Tensor, new: Mapping[str, Tensor], weight: float, outputs: tuple[Sequence[str], Sequence[str]]
) -> Tensor:
    if name not in new or old.shape[1:] != new[name].shape[1:]:
        raise ValueError(f"expected two networks with the same tensors, found {name!r} in one, or of another width")
    for rows, names in zip((old, new[name]), outputs, strict=True):
        if len(rows) != len(names):
            raise ValueError(f"expected {len(names)} rows in {name!r} ({', '.join(names)}), found {len(rows)}")
    theirs = new[name].to(old)
    before, after = ({each: number for number, each in enumerate(names)} for names in outputs)
    joined = []
    for each in joined_outputs(*outputs):
        if each not in after:
            joined.append(old[before[each]])
        elif each not in before:
            joined.append(theirs[after[each]])
        else:
            joined.append(_between(old[before[each]], theirs[after[each]], weight))
    return torch.stack(joined)
