"""Tensors of a file from somebody else, refused if they claim more numbers than the file has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nnunet_ext.errors import UserError

DEEPEST = 100  # containers in one another; nnU-Net's plans have about 10
CONTAINERS = (list, tuple, set, frozenset)


def check_plain_tensors(content: Any, file: object, sizes: set[int] | None, most: int) -> None:
    """Refuse tensors that are no plain ones, and containers nested too deep to be worked with.

    A tensor with a stride of 0 shows one stored number as many: a copy of it can fill the memory.

    Args:
        content: What the file holds: containers of tensors and other values.
        file: Its path, for messages.
        sizes: Sizes in bytes that a tensor's storage may have; None: any.
        most: The largest of them, in bytes.

    Raises:
        UserError: The first such tensor, by its name.
    """
    left: list[tuple[Any, str, int]] = [(content, "", 0)]
    seen: set[int] = set()
    while left:
        value, name, depth = left.pop()
        if depth > DEEPEST:
            raise UserError(
                f"{file}: expected at most {DEEPEST} containers in one another, found more, in {name[:40]!r}. Do not "
                f"use this file."
            )
        if isinstance(value, Tensor):
            _check(value, name, file, sizes, most)
        elif isinstance(value, (dict, *CONTAINERS)) and id(value) not in seen:
            seen.add(id(value))
            if isinstance(value, dict):
                left += [(each, str(key)[:200], depth + 1) for key, each in value.items()]
                left += [(key, name, depth + 1) for key in value if isinstance(key, CONTAINERS)]
            else:
                left += [(each, name, depth + 1) for each in value]


def _check(tensor: Tensor, name: str, file: object, sizes: set[int] | None, most: int) -> None:
    found = None
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        found = f"a {tensor.layout} one on {tensor.device}"
    else:
        stored = tensor.untyped_storage().nbytes()
        if stored > most or (sizes is not None and stored not in sizes):
            found = f"one of {stored} bytes, which the file does not hold"
        elif tensor.numel() * tensor.element_size() > stored:
            found = f"one of shape {tuple(tensor.shape)} with {stored // tensor.element_size()} numbers"
    if found is not None:
        raise UserError(
            f"{file}: expected tensors whose numbers are in the file, found {found}: {name!r}. Do not use this file."
        )
