"""All methods of this package, found by their ``card.py``."""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path

import nnunet_ext
from nnunet_ext.base.method import Method

ROOT = Path(nnunet_ext.__file__).parent


@lru_cache(maxsize=1)
def methods() -> dict[str, Method]:
    """Return ``{key: Method}`` of every package below this one that has a ``card.py``, in alphabetical order."""
    cards = sorted(file.parent.relative_to(ROOT) for file in ROOT.glob("**/card.py"))
    found = [importlib.import_module(".".join((nnunet_ext.__name__, *folder.parts, "card"))).CARD for folder in cards]
    return {method.key: method for method in sorted(found, key=lambda method: method.key)}
