"""Whether tasks expect the same images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def differing_channel_names(descriptions: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return one line that says which tasks have different channel names, or None if all have the same.

    The images' number of channels says which tasks take them, and CT and MRI both have one.

    Args:
        descriptions: dataset.json of each task.
    """
    by_names: dict[tuple[str, ...], list[str]] = {}
    for task, description in descriptions.items():
        by_names.setdefault(_names(description), []).append(task)
    if len({tuple(name.casefold() for name in names) for names in by_names}) < 2:
        return None
    groups = "; ".join(f"{', '.join(names)} for {', '.join(tasks)}" for names, tasks in by_names.items())
    return (
        f"WARNING: the tasks expect images with different channels: {groups}. A file reveals only their number; name "
        f"the tasks that suit the images (--tasks)."
    )


def _names(description: Mapping[str, Any]) -> tuple[str, ...]:
    channels = description.get("channel_names", description.get("modality", {}))
    return tuple(str(channels[number]) for number in sorted(channels, key=int))
