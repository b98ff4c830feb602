"""Plans and dataset.json out of a checkpoint, as JSON has them."""

from __future__ import annotations

import json
from typing import Any


def plain_json(value: Any) -> Any:
    """Return a value of dicts, lists, text and numbers; tuples become lists, and numpy's numbers and arrays plain ones.

    Args:
        value: What a checkpoint holds.

    Raises:
        TypeError: Something else is in it.

    Example:
        >>> plain_json({"spacing": (3.0, 1.0)})
        {'spacing': [3.0, 1.0]}
    """
    return json.loads(json.dumps(value, default=_plain))


def _plain(value: Any) -> Any:
    if type(value).__module__ == "numpy":
        return value.tolist()
    raise TypeError(f"expected plans and dataset.json of JSON values, got {type(value).__name__}")
