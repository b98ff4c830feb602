"""Read plans that a user may have edited, or that were cut short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json


def read_plans(file: Path) -> dict[str, Any]:
    """Return the plans in a file.

    Raises:
        UserError: It is no JSON, or not that of plans.
    """
    found = read_json(file)
    if not isinstance(found, dict) or not isinstance(found.get("configurations"), dict) or "plans_name" not in found:
        raise UserError(
            f"{file}: expected plans with 'plans_name' and 'configurations', found none. Restore the file, plan again, "
            f"or give other plans."
        )
    return found
