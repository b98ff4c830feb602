"""Read a JSON file that a user may have edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nnunet_ext.base.text_file import read_text
from nnunet_ext.errors import UserError


def read_json(file: Path, *, unique: bool = False) -> Any:
    """Return what a JSON file holds.

    Args:
        file: The file.
        unique: Refuse an object that names a key twice; Python would keep the last of them without a word.

    Raises:
        UserError: The file cannot be read, is no JSON or names a key twice.
    """
    try:
        return json.loads(read_text(file), object_pairs_hook=_unique if unique else None)
    except PermissionError as error:
        raise UserError(f"{file}: expected JSON, got {error.strerror!r}. Let it be read: chmod u+r.") from error
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{file}: expected JSON, got {error}. Restore or rewrite the file.") from error
    except KeyError as error:
        raise UserError(f"{file}: expected each name once in an object, found {error} twice. Rename one.") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise KeyError(key)
        found[key] = value
    return found
