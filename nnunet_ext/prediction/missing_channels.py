"""Which channels images to predict do not have, by number or name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnunet_ext.errors import UserError


def missing_channels(channels: Sequence[int | str], dataset_json: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the numbers of channels.

    Args:
        channels: Numbers from 0, or names as in dataset.json.
        dataset_json: The model's.

    Returns:
        Each once, ascending.

    Raises:
        UserError: The model has no such channel, several of that name, or all its channels would be missing.

    Example:
        >>> missing_channels(["T2", 0], {"channel_names": {"0": "T1", "1": "FLAIR", "2": "T2"}})
        (0, 2)
    """
    names = list(dataset_json.get("channel_names", dataset_json.get("modality", {})).values())
    known = ", ".join(f"{number} ({name})" for number, name in enumerate(names))
    found = set()
    for channel in channels:
        text = str(channel)
        numbers = [number for number, name in enumerate(names) if text in (str(number), name)]
        if len(numbers) != 1:
            raise UserError(
                f"missing channel {text}: expected one of {known}, found {len(numbers) or 'none'} of them. Give its "
                f"number."
            )
        found.add(numbers[0])
    if found and len(found) == len(names):
        raise UserError(f"missing channels: expected one that is there, of {known}, found none. Leave one out.")
    return tuple(sorted(found))
