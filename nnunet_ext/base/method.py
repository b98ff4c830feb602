"""The card of a method: its name, papers, trainers, planners and settings.

Each method package holds one ``CARD = Method(...)`` in its ``card.py``. ``nnunet_ext info``, the knobs in the plans
and the documentation read it from there, so nothing has to be registered anywhere else. Another package's method is
known by an entry point of the group ``nnunet_ext.methods`` that names its card, or once its trainer, which carries the
card, has been imported.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import nnunet_ext
from nnunet_ext.errors import UserError, nearest, one_line

ROOT = Path(nnunet_ext.__file__).parent
GROUP = "nnunet_ext.methods"  # of entry points

logger = logging.getLogger(__name__)
_of_trainers: dict[str, Method] = {}


@dataclass(frozen=True)
class Knob:
    """One setting that a plans file may carry.

    Args:
        name: Key in the plans block.
        default: Value when the plans say nothing.
        help: A sentence fragment for ``nnunet_ext info`` and the tables in ``docs/``.
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
        supports: Configurations and label modes, in words, such as ``("2d", "3d_fullres", "regions", "ignore label")``.
            ``nnunet_ext info`` shows them; "unlabelled images" is for semi-supervised trainers, and only for them.
        knobs: The method's own settings.
        recipe: General knobs that its trainers use instead of the defaults if the plans name no optimizer.
        recipe_with: By optimizer, those that they use instead of the defaults if the plans name that optimizer.

    Example:
        >>> from nnunet_ext.base.method import methods
        >>> methods()["ba_net"].trainers
        ('BANetTrainer',)
        >>> [knob.name for knob in methods()["ba_net"].knobs]
        ['boundary_loss_weight', 'boundary_width', 'v1_decoder_kernels']
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
    recipe_with: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


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


def distinct(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Legal values: lists of different values that ``accepts`` takes."""
    return lambda value: isinstance(value, list) and all(map(accepts, value)) and len({*value}) == len(value)


def optional(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Legal values: null, or what ``accepts`` takes."""
    return lambda value: value is None or accepts(value)


@lru_cache(maxsize=1)
def methods() -> dict[str, Method]:
    """Return ``{key: Method}``: ours in alphabetical order, then those of other packages."""
    cards = sorted(file.parent.relative_to(ROOT) for file in ROOT.glob("**/card.py"))
    found = [importlib.import_module(".".join((nnunet_ext.__name__, *folder.parts, "card"))).CARD for folder in cards]
    own = {method.key: method for method in sorted(found, key=lambda method: method.key)}
    others, problems = registered_methods()
    for problem in problems:
        logger.warning("%s", problem)
    others = _of_trainers | others
    return own | {key: method for key, method in sorted(others.items()) if key not in own}


def registered_methods() -> tuple[dict[str, Method], list[str]]:
    """Return the methods that other packages register by entry points, and what is wrong with those left out."""
    found: dict[str, Method] = {}
    problems = []
    for point in importlib.metadata.entry_points(group=GROUP):
        place = f"entry point {point.name!r} of {GROUP} ({point.value})"
        try:
            card = point.load()
        except Exception as error:  # whatever the other package raises as it is imported
            problems.append(f"{place}: expected a card, got {type(error).__name__}: {one_line(error)}.")
            continue
        if not isinstance(card, Method):
            problems.append(f"{place}: expected a nnunet_ext.Method, got {type(card).__name__}.")
        else:
            found[card.key] = card
    return found, problems


def register(card: Method) -> None:
    """Make the method of a trainer class known, with its knobs.

    Raises:
        UserError: Another method has its key.
    """
    known = methods().get(card.key, card)
    if known.trainers != card.trainers:
        raise UserError(
            f"method {card.key!r} of {', '.join(card.trainers)}: expected a key of its own, {known.title} has it too. "
            f"Choose another key."
        )
    _of_trainers[card.key] = card
    methods.cache_clear()
