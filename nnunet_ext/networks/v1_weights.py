"""Move tensors of networks on nnU-Net v1 into modules of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def fill_blocks(blocks: Sequence[nn.Module], prefix: str, rest: dict[str, Tensor]) -> None:
    """Fill a stage's convolution blocks, in place, and take what was used out of ``rest``.

    v1 numbers them over one or two levels of nesting (``0.blocks.1``, ``1.blocks.0``); their order is what counts.

    Raises:
        ValueError: Another number of blocks, or a tensor is missing or of another shape.
    """
    pattern = re.compile(re.escape(prefix) + r"(?:\d+\.)?blocks\.\d+(?=\.conv\.weight$)")
    names = sorted(
        (match.group() for match in map(pattern.match, rest) if match),
        key=lambda name: [int(number) for number in re.findall(r"\d+", name)],
    )
    if len(names) != len(blocks):
        raise ValueError(f"expected {len(blocks)} convolutions at {prefix!r}, got {len(names)}; use the plans' numbers")
    for block, name in zip(blocks, names, strict=True):
        fill(block.get_submodule("conv"), f"{name}.conv", rest)
        fill(block.get_submodule("norm"), f"{name}.instnorm", rest)


@torch.no_grad()
def fill(module: nn.Module, name: str, rest: dict[str, Tensor], *, bias_may_miss: bool = False) -> None:
    """Fill one module's parameters, in place, and take them out of ``rest``; a missing bias is the same as 0.

    Raises:
        ValueError: A tensor is missing or of another shape.
    """
    for kind, parameter in module.named_parameters():
        key = f"{name}.{kind}"
        if key not in rest and kind == "bias" and bias_may_miss:
            parameter.zero_()
            continue
        found = rest.pop(key, None)
        if found is None or found.shape != parameter.shape:
            shape = None if found is None else tuple(found.shape)
            raise ValueError(f"expected {key!r} of shape {tuple(parameter.shape)}, got {shape}; use the same plans")
        parameter.copy_(found)


def check_nothing_left(rest: dict[str, Tensor]) -> None:
    """Refuse weights that have no place in the network.

    Raises:
        ValueError: Tensors are left over.
    """
    if rest:
        raise ValueError(
            f"expected the weights of the same plans, but {len(rest)} tensors are left over: {sorted(rest)}"
        )
