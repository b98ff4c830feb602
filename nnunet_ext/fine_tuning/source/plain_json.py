"""Plans and dataset.json out of a checkpoint, as JSON has them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

MOST = 5_000_000  # values and characters; a dataset.json that lists 10,000 cases has about 1,000,000
DEEPEST = 100  # containers in one another


def plain_json(value: Any) -> Any:
    """Return a value of dicts, lists, text and numbers; tuples become lists, and numpy's numbers and arrays plain ones.

    Args:
        value: What a checkpoint holds.

    Raises:
        TypeError: Something else is in it.
        ValueError: It has absurdly many values, as where a file nests few containers so that each counts many times.

    Example:
        >>> plain_json({"spacing": (3.0, 1.0)})
        {'spacing': [3.0, 1.0]}
    """
    return _Conversion().plain(value, 0)


class _Conversion:
    def __init__(self) -> None:
        self.size = 0

    def plain(self, value: Any, depth: int) -> Any:
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} containers in one another")
        if isinstance(value, np.generic | np.ndarray):
            self._count(value.size)
            value = value.tolist()
        self._count(len(value) if isinstance(value, str) else 1)
        if isinstance(value, dict):
            return {self._key(key): self.plain(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(each, depth + 1) for each in value]
        if value is None or isinstance(value, str | bool | int | float):
            return value
        raise TypeError(f"expected plans and dataset.json of JSON values, got {type(value).__name__}")

    def _key(self, key: Any) -> str:
        if isinstance(key, str):
            self._count(len(key))
            return key
        if key is None or isinstance(key, bool | int | float):
            return json.dumps(key)
        raise TypeError(f"expected plans and dataset.json with names of text, got {type(key).__name__}")

    def _count(self, more: int) -> None:
        self.size += more
        if self.size > MOST:
            raise ValueError(f"more than {MOST} values and characters")
