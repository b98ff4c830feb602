"""Values of somebody else's files in a form that JSON has, and text that a terminal can show."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

LONGEST, DEEPEST, MOST = 200, 12, 100_000  # characters, containers in one another, values


def plain(value: Any) -> Any:
    """Return a value as JSON has it: numpy's numbers and arrays as numbers and lists, NaN as None, others as text.

    Args:
        value: Containers of numbers and text. A file can nest them so that they are without end; what is deeper than
            usual, or comes after many others, is replaced by "...".

    Example:
        >>> plain({1: (np.float32(0.5), float("nan"))})
        {'1': [0.5, None]}
    """
    return _plain(value, 0, itertools.count())


def _plain(value: Any, depth: int, count: Iterator[int]) -> Any:
    if depth > DEEPEST or next(count) > MOST:
        return "..."
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(_plain(key, depth + 1, count)): _plain(each, depth + 1, count) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each, depth + 1, count) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)[:LONGEST]


def at(value: Any, *keys: Any) -> Any:
    """Return what is at a place in nested dictionaries, or None: somebody else's file may have anything there.

    Example:
        >>> at({"init_args": {"fold": 0}}, "init_args", "fold"), at({"init_args": 3}, "init_args", "fold")
        (0, None)
    """
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def known(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts without those that are unknown: None, or empty.

    Example:
        >>> known({"trainer": "nnUNetTrainer", "fold": 0, "tasks": [], "plans": None})
        {'trainer': 'nnUNetTrainer', 'fold': 0}
    """
    return {key: value for key, value in facts.items() if value is not None and value not in ("", [], {})}
