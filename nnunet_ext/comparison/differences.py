"""What changed between a run's record, or its training, and the current settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_ext.base import knobs
from nnunet_ext.base.trained_on import data_difference
from nnunet_ext.comparison.record import DATA, DIGESTS
from nnunet_ext.errors import UserError


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return what differs between a record and the current settings, in words."""
    shown = [key for key in new if key not in ("knobs", DATA, *DIGESTS) and old[key] != new[key]]
    found = [f"{key}: {old[key]!r} -> {new[key]!r}" for key in shown]
    found += knobs.changed(old["knobs"], new["knobs"])
    if old["plans_sha256"] != new["plans_sha256"]:
        found.append(f"other plans {new['plans']!r}")
    if other := data_difference(old.get(DATA), new[DATA]):  # earlier versions recorded none
        found.append(other)
    if cases := changed_keys(old["cases_sha256"], new["cases_sha256"]):
        found.append(f"other files of {few(cases)} to score")
    return found


def changed_keys(old: Any, new: Any, place: tuple[str, ...] = ()) -> list[str]:
    """Return the entries that differ between two JSON objects, from the outermost level inwards."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(key, old.get(key), new.get(key)) for key in sorted({*old, *new})]
        return [found for key, before, after in pairs for found in changed_keys(before, after, (*place, key))]
    return [] if old == new else [".".join(place)]


def few(names: Sequence[str]) -> str:
    """Return the first names as one phrase."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def changed_settings(file: Path, found: list[str]) -> UserError:
    """Return the error about a run that began with other settings."""
    return UserError(
        f"{file}: expected the settings that this run began with, got {'; '.join(found)}. Set them back, or "
        f"choose another -tr NAME=TRAINER; for other files to score, another -o."
    )
