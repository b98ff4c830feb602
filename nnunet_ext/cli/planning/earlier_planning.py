"""What earlier planning left in nnUNet_preprocessed, complete or cut short by a kill or a full disk.

Planning writes fingerprint and plans again. It must not fail because of the old ones: nnU-Net crashes on those that
cannot be read.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json, whole_file

logger = logging.getLogger(__name__)


def default_plans_name(planner: type) -> str:
    """Return the default name of the plans that a planner writes."""
    ours = getattr(planner, "default_plans_name", None)
    return ours or inspect.signature(planner).parameters["plans_name"].default


def earlier_plans(place: Path, plans_name: str) -> dict[Path, Any]:
    """Return the existing plans of this name, by file; broken ones are removed and reported.

    No other file is read: other content of the folder does not concern planning.
    """
    file = place / f"{plans_name}.json"
    if not file.is_file():
        return {}
    plans = read_whole(file)
    if isinstance(plans, dict) and isinstance(plans.get("configurations"), dict):
        return {file: plans}
    logger.warning(
        "%s was cut short and is written again. If its plans had knobs of your own, give them again with --set.", file
    )
    file.unlink()
    return {}


def is_whole_fingerprint(file: Path) -> bool:
    """Whether a fingerprint exists and can be read."""
    found = read_whole(file) if file.is_file() else None
    return isinstance(found, dict) and "spacings" in found


def remove_broken_fingerprint(file: Path) -> None:
    """Remove a fingerprint that was cut short, so that nnU-Net extracts it again."""
    if file.is_file() and not is_whole_fingerprint(file):
        logger.warning("%s was cut short and is extracted again.", file)
        file.unlink()


@contextlib.contextmanager
def unchanged(file: Path) -> Iterator[None]:
    """``with unchanged(file):`` undo what planning does to a file, which need not exist."""
    content = file.read_bytes() if file.is_file() else None
    try:
        yield
    finally:
        if content is None:
            file.unlink(missing_ok=True)
        else:
            with whole_file(file) as partial:
                partial.write_bytes(content)


def descendants(plans: dict[str, Any], configuration: str) -> dict[str, Any]:
    """Return the configurations of a user's own that inherit from one, directly or not."""
    found, entries = {configuration}, plans["configurations"]
    while new := {name for name, entry in entries.items() if entry.get("inherits_from") in found} - found:
        found |= new
    return {name: entry for name, entry in entries.items() if name in found and name != configuration}


def read_whole(file: Path) -> Any:
    """Read JSON; None of a file that was cut short, which planning writes again."""
    try:
        return read_json(file)
    except UserError:
        return None
