"""All methods of this package, found by their ``card.py``."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache
from pathlib import Path

import nnunet_ext
from nnunet_ext.base.method import Method


@lru_cache(maxsize=1)
def methods() -> dict[str, Method]:
    """Return ``{key: Method}`` of every sub-package that has a ``card.py``, in alphabetical order."""
    found = {}
    for folder in nnunet_ext.__path__:
        for module in pkgutil.iter_modules([folder]):
            if module.ispkg and (Path(folder) / module.name / "card.py").is_file():
                found[module.name] = importlib.import_module(f"nnunet_ext.{module.name}.card").CARD
    return found
