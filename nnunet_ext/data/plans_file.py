"""Plans files: their names, and reading those that a user may have edited or that were cut short."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json

TAKEN = ("dataset", "dataset_fingerprint", "splits_final")  # nnU-Net's other files in that folder


def read_plans(file: Path) -> dict[str, Any]:
    """Return the plans in a file.

    Raises:
        UserError: It is not JSON, or not plans.
    """
    found = read_json(file)
    if not isinstance(found, dict) or not isinstance(found.get("configurations"), dict) or "plans_name" not in found:
        raise UserError(
            f"{file}: expected plans with 'plans_name' and 'configurations', found none. Restore the file, plan again, "
            f"or give other plans."
        )
    return found


def check_plans_name(name: str, option: str = "--as") -> None:
    """Refuse a name that plans cannot have: it becomes a file's and part of a folder's, split at ``__``.

    Args:
        name: The name.
        option: The option that it was given with.

    Raises:
        UserError: The name is invalid.
    """
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,98}[A-Za-z0-9])?", name) or "__" in name or name in TAKEN:
        raise UserError(
            f"{option} {name!r}: expected letters, digits, single _, - and . between them, at most 100, and none of "
            f"{', '.join(TAKEN)}. Choose another name."
        )
