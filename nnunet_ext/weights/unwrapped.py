"""Weights under the names of the bare network, also where DDP or torch.compile wrapped it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WRAPPERS = ("module.", "_orig_mod.")  # what DDP and torch.compile put before names


def unwrapped(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return weights without the prefixes that all names have from DDP or torch.compile.

    Args:
        weights: Tensors by name.

    Example:
        >>> unwrapped({"module._orig_mod.a": 1, "module._orig_mod.b": 2})
        {'a': 1, 'b': 2}
    """
    found = dict(weights)
    while found and (prefix := next((each for each in WRAPPERS if _all_start_with(each, found)), None)):
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def _all_start_with(prefix: str, names: Mapping[str, Any]) -> bool:
    return all(isinstance(name, str) and name.startswith(prefix) for name in names)
