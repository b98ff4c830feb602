"""``nnunet_ext info``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nnunet_ext import __version__
from nnunet_ext.base.knobs import GENERAL
from nnunet_ext.base.method import Knob, Method, methods
from nnunet_ext.cli.common.command import Command


@dataclass
class Info(Command):
    """List methods, trainers, planners, papers, what each supports, and every knob.

    Knobs go into the plans: nnunet_ext plan_and_preprocess --set KEY=VALUE, nnunet_ext variant --set KEY=VALUE.
    """

    name: ClassVar[str] = "info"

    json: bool = False

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare --json."""
        parser.add_argument("--json", action="store_true", help="machine-readable output")

    def run(self) -> int:
        """Print the cards."""
        print(json.dumps(described(), indent=2) if self.json else text())
        return 0


def described() -> dict[str, Any]:
    """Return everything as plain data."""
    return {
        "version": __version__,
        "knobs": [_knob(knob) for knob in GENERAL],
        "methods": {key: _method(method) for key, method in methods().items()},
    }


def text() -> str:
    """Return everything as text."""
    blocks = [f"nnunet_ext {__version__}", *(_card(key, method) for key, method in methods().items())]
    return "\n\n".join([*blocks, "knobs of every trainer\n" + _knob_lines("", GENERAL)])


def _method(method: Method) -> dict[str, Any]:
    return {
        "title": method.title,
        "summary": method.summary,
        "trainers": list(method.trainers),
        "planners": list(method.planners),
        "papers": list(method.papers),
        "supports": list(method.supports),
        "knobs": [_knob(knob) for knob in method.knobs],
        "recipe": dict(method.recipe),
        "recipe_with": {optimizer: dict(recipe) for optimizer, recipe in method.recipe_with.items()},
    }


def _knob(knob: Knob) -> dict[str, Any]:
    return {"name": knob.name, "default": knob.default, "expected": knob.expected, "help": knob.help}


def _card(key: str, method: Method) -> str:
    lines = [
        f"{method.title}: {method.summary}",
        *_row("-tr", method.trainers),
        *_row("-pl", method.planners),
        *_row("supports", [", ".join(method.supports)]),
        *_row("papers", method.papers),
    ]
    recipes = [f"{_settings(method.recipe)}; if the plans name no optimizer"] if method.recipe else []
    recipes += [f"{_settings(recipe)}; if they name {optimizer}" for optimizer, recipe in method.recipe_with.items()]
    lines += _row("recipe", recipes)
    if method.knobs:
        lines += ["  knobs", _knob_lines(f"{key}.", method.knobs)]
    return "\n".join(lines)


def _settings(recipe: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={json.dumps(value)}" for name, value in recipe.items())


def _row(title: str, values: Iterable[str]) -> list[str]:
    """One value per line, the title before the first."""
    return [f"  {'' if index else title:<9} {value}" for index, value in enumerate(values)]


def _knob_lines(prefix: str, knobs: Iterable[Knob]) -> str:
    rows = [(f"{prefix}{knob.name}={json.dumps(knob.default)}", f"{knob.expected}; {knob.help}") for knob in knobs]
    width = max(len(setting) for setting, _ in rows)
    return "\n".join(f"    {setting:<{width}}  {meaning}" for setting, meaning in rows)
