"""Read a JSON file that a user may have edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nnunet_ext.errors import UserError


def read_json(file: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        UserError: The file cannot be read or is no JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{file}: expected JSON, got {error}. Restore or rewrite the file.") from error
