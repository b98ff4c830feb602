"""Packages that only some commands need, and how to install them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from nnunet_ext.errors import UserError


def need_packages(names: Sequence[str], remedy: str) -> None:
    """Refuse to start a command whose packages are not installed; none is imported.

    Args:
        names: To import them by.
        remedy: The command that installs them.

    Raises:
        UserError: One is missing.

    Example:
        >>> need_packages(["json"], "pip install json")
    """
    if missing := [name for name in names if find_spec(name) is None]:
        found = "no " + " and no ".join(missing)
        raise UserError(f"expected the packages {', '.join(names)}, found {found}. Install: {remedy}")
