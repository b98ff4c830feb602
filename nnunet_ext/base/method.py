"""The card of a method: its name, papers, sockets and settings.

Each method package holds one ``CARD = Method(...)`` in its ``card.py``. ``nnunet_ext info``, the knobs in the plans
and the documentation read it from there, so nothing has to be registered anywhere else.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import nnunet_ext
from nnunet_ext.errors import UserError, nearest

ROOT = Path(nnunet_ext.__file__).parent


@dataclass(frozen=True)
class Knob:
    """One setting that a plans file may carry.

    Args:
        name: Key in the plans block.
        default: Value when the plans say nothing.
        help: One line for ``nnunet_ext info``.
        accepts: True for every legal value.
        expected: The legal values in words, for the error message.
        may_change: Whether a training may be continued with another value (it changes no weight).
    """

    name: str
    default: Any
    help: str
    accepts: Callable[[Any], bool]
    expected: str
    may_change: bool = False


@dataclass(frozen=True)
class Method:
    """What ``nnunet_ext info`` knows about a method.

    Args:
        key: Name of the package and of the method's block in the plans.
        title: Name in the literature.
        summary: One line.
        papers: Citations.
        trainers: Names that ``-tr`` takes.
        planners: Names that ``-pl`` takes.
        supports: Configurations and label modes, in words.
        knobs: The method's own settings.
        recipe: General knobs that its trainers use instead of the defaults if the plans name no optimizer.
    """

    key: str
    title: str
    summary: str
    trainers: tuple[str, ...]
    planners: tuple[str, ...] = ()
    papers: tuple[str, ...] = ()
    supports: tuple[str, ...] = ()
    knobs: tuple[Knob, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)


def check_method(trainer: type) -> None:
    """Refuse a trainer whose method has no card.

    Args:
        trainer: A class with the attribute ``method``.

    Raises:
        UserError: No card has that key.
    """
    key = getattr(trainer, "method", "")
    if key and key not in methods():
        raise UserError(
            f"{trainer.__name__}: expected a card for its method {key!r}, found none. {nearest(key, methods())}"
        )


def integer(minimum: int) -> Callable[[Any], bool]:
    """Legal values: integers from ``minimum`` up (``True`` is not one)."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def number(minimum: float, *, exclusive: bool = False, below: float = float("inf")) -> Callable[[Any], bool]:
    """Legal values: finite numbers from ``minimum`` up, or above it if ``exclusive``, and less than ``below``."""

    def accepts(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not value < below:
            return False
        return value > minimum if exclusive else value >= minimum

    return accepts


def one_of(*choices: Any) -> Callable[[Any], bool]:
    """Legal values: the given ones."""
    return lambda value: value in choices


def optional(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Legal values: null, or what ``accepts`` takes."""
    return lambda value: value is None or accepts(value)


@lru_cache(maxsize=1)
def methods() -> dict[str, Method]:
    """Return ``{key: Method}`` of every package below this one that has a ``card.py``, in alphabetical order."""
    cards = sorted(file.parent.relative_to(ROOT) for file in ROOT.glob("**/card.py"))
    found = [importlib.import_module(".".join((nnunet_ext.__name__, *folder.parts, "card"))).CARD for folder in cards]
    return {method.key: method for method in sorted(found, key=lambda method: method.key)}
