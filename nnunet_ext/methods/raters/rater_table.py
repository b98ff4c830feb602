"""The raters that plans name: those whose opinions a network predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnunet_ext.errors import UserError, nearest

KEY = "raters"  # of the plans of a training with heads for raters


def with_raters(plans: Mapping[str, Any], names: tuple[str, ...], *, regions: bool) -> dict[str, Any]:
    """Return plans that name the raters, which the network needs and nnU-Net hands to nobody else.

    Args:
        plans: The plans.
        names: The raters, in the order of the heads.
        regions: The classes are regions.
    """
    return {**plans, KEY: {"names": list(names), "regions": regions}}


def raters_in(plans: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """Return the raters that plans name, and whether the classes are regions.

    Raises:
        UserError: They name none.
    """
    table = plans.get(KEY)
    if not isinstance(table, dict):
        raise UserError(
            f"plans {plans.get('plans_name')!r}: expected the names of the raters, which a training with heads for "
            f"them writes, found none. Take the plans.json of a trained model."
        )
    return tuple(table["names"]), bool(table["regions"])


def rater_number(plans: Mapping[str, Any], name: str) -> int:
    """Return a rater's place among the heads.

    Raises:
        UserError: The plans do not name the rater.
    """
    names, _ = raters_in(plans)
    if name not in names:
        raise UserError(
            f"plans {plans.get('plans_name')!r}, knob 'raters.predict': expected a rater of the training, got "
            f"{name!r}. {nearest(name, names)}"
        )
    return names.index(name)


def view_name(plans_name: str, rater: str) -> str:
    """Return the name of the plans of a rater's view."""
    return f"{plans_name}_{rater}"
