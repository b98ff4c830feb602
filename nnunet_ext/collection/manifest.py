"""The manifest of a collection: which ordinary datasets are tasks of one network.

It is the dataset.json of a folder without images::

    {"tasks": {"liver": {"dataset": "Dataset003_Liver"},
               "anterior": {"dataset": "Dataset901_anterior", "source": "Dataset004_Hippocampus",
                            "labels": {"Anterior": "anterior"}, "weight": 2.0, "spacing": [3.0, 1.5, 1.5],
                            "normalization": ["ZScoreNormalization"]}},
     "spacing": "own", "normalization": "own"}

``nnunet_ext collect`` writes it; you may edit it. A task's number is its place in ``"tasks"``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.data.dataset_json import dataset_number, is_collection
from nnunet_ext.errors import UserError, nearest

POLICIES = ("own", "one")
COLLECTION_KEYS = ("tasks", "spacing", "normalization", "network_of")
TASK_KEYS = ("dataset", "weight", "spacing", "normalization", "source", "labels")
INFORMATIVE = ("name", "description", "reference", "licence", "license", "release")  # customary in a dataset.json
CASCADE = re.compile(r"configuration|cascade|stage|2d|3d_|lowres|fullres", re.IGNORECASE)
TASK_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class ManifestTask:
    """One task.

    Args:
        name: Name of the task.
        dataset: The member, an ordinary dataset.
        source: Of a part: the dataset that it was taken from.
        labels: Of a part: names in the source and names in the member.
        weight: How often the task is drawn, if training samples by weight.
        spacing: Target spacing of its own in mm, in nnU-Net's axis order before transposition.
        normalization: nnU-Net's normalization class for each channel.
    """

    name: str
    dataset: str
    source: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    weight: float | None = None
    spacing: tuple[float, float, float] | None = None
    normalization: tuple[str, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the task's entry in the manifest, without the name."""
        entry: dict[str, Any] = {"dataset": self.dataset}
        if self.source is not None:
            entry |= {"source": self.source, "labels": dict(self.labels)}
        if self.weight is not None:
            entry["weight"] = self.weight
        if self.spacing is not None:
            entry["spacing"] = list(self.spacing)
        if self.normalization is not None:
            entry["normalization"] = list(self.normalization)
        return entry


@dataclass(frozen=True)
class Manifest:
    """A collection's tasks.

    Args:
        collection: Name of the collection's folder.
        tasks: Tasks in the order of their numbers.
        spacing: ``"own"``: each member its own target spacing; ``"one"``: one for all.
        normalization: The same for the normalization.
        network_of: Another collection whose planned network, patch and batch size this one takes over, so that its
            trained weights fit.
    """

    collection: str
    tasks: tuple[ManifestTask, ...]
    spacing: str = "own"
    normalization: str = "own"
    network_of: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        tasks = {task.name: task.as_json() for task in self.tasks}
        content = {"tasks": tasks, "spacing": self.spacing, "normalization": self.normalization}
        return content if self.network_of is None else content | {"network_of": self.network_of}


def parse_manifest(content: Any, file: Path) -> Manifest:
    """Check a manifest by itself: nothing is looked up on disk.

    Args:
        content: What the JSON file holds.
        file: The file, for messages; the name of its folder is the collection's.

    Raises:
        UserError: The first mistake.
    """
    if not isinstance(content, dict) or not is_collection(content):
        raise UserError(
            f"{file}: expected the manifest of a collection with the key 'tasks', found none. Write it: nnunet_ext "
            f"collect."
        )
    check_dataset_name(file.parent.name, file)
    _check_keys(content, (*COLLECTION_KEYS, *INFORMATIVE), COLLECTION_KEYS, str(file))
    for key in ("spacing", "normalization"):
        if content.get(key, "own") not in POLICIES:
            raise UserError(f'{file}: {key!r}: expected "own" or "one", got {content[key]!r}. Write one of them.')
    entries = content["tasks"]
    if not isinstance(entries, dict) or not entries:
        raise UserError(
            f'{file}: expected "tasks" to be {{"liver": {{"dataset": "Dataset003_Liver"}}, ...}}, got {entries!r}. '
            f"Name at least one task."
        )
    tasks = tuple(_task(name, entry, file) for name, entry in entries.items())
    _check_unique((task.name for task in tasks), "task", file)
    _check_unique((task.dataset for task in tasks), "member", file)
    policies = content.get("spacing", "own"), content.get("normalization", "own")
    return Manifest(file.parent.name, tasks, *policies, _network_of(content, file))


def check_dataset_name(name: str, file: Path) -> None:
    """Refuse a dataset whose name cannot become part of a plans name.

    Raises:
        UserError: It has two underscores in a row or ends in one, where nnU-Net splits the names of results folders.
    """
    if not re.fullmatch(r"Dataset\d{3}_[A-Za-z0-9_.-]+", name) or "__" in name or name.endswith("_"):
        raise UserError(
            f"{file}: expected a dataset named like Dataset003_Liver, without '__' and not ending in '_' (it becomes "
            f"part of a results folder's name), got {name!r}. Rename its folder."
        )


def check_task_name(name: str, place: object) -> None:
    """Refuse a task that cannot name a folder.

    Raises:
        UserError: It holds anything but letters and digits with single ``_``, ``.`` and ``-`` between them.
    """
    if not TASK_NAME.fullmatch(name) or "__" in name:
        raise UserError(
            f"{place}: expected a task named with letters and digits, and single '_', '.' and '-' between them, got "
            f"{name!r}. Rename it."
        )


def check_weight(value: Any, place: object) -> float:
    """Return a sampling weight.

    Raises:
        UserError: It is not a positive number.
    """
    if not _positive(value):
        raise UserError(f"{place}: expected a weight above 0, got {value!r}. Write a number, 1 is usual.")
    return float(value)


def check_spacing(value: Any, place: object) -> tuple[float, float, float]:
    """Return a target spacing.

    Raises:
        UserError: It is not three positive numbers.
    """
    if not isinstance(value, (list, tuple)) or len(value) != 3 or not all(map(_positive, value)):
        raise UserError(f"{place}: expected a spacing of three numbers of mm above 0, got {value!r}. Correct it.")
    first, second, third = map(float, value)
    return first, second, third


def normalization_classes() -> tuple[str, ...]:
    """Return the names of nnU-Net's normalizations."""
    from nnunetv2.preprocessing.normalization import default_normalization_schemes as schemes

    base = schemes.ImageNormalization
    return tuple(
        sorted(
            name
            for name, found in vars(schemes).items()
            if isinstance(found, type) and issubclass(found, base) and found is not base
        )
    )


def check_normalization(value: Any, place: object) -> tuple[str, ...]:
    """Return normalizations, one for each channel.

    Raises:
        UserError: It is not a list of names of nnU-Net's classes.
    """
    if not isinstance(value, (list, tuple)) or not value:
        raise UserError(
            f"{place}: expected a list with one normalization for each channel, got {value!r}. Write "
            f'["CTNormalization"] for one channel.'
        )
    legal = normalization_classes()
    for name in value:
        if name not in legal:
            raise UserError(f"{place}: unknown normalization {name!r}. {nearest(str(name), legal)}")
    return tuple(value)


def _network_of(content: Mapping[str, Any], file: Path) -> str | None:
    other = content.get("network_of")
    if other is not None and (not isinstance(other, str) or other == file.parent.name):
        raise UserError(
            f"{file}: 'network_of': expected the name of another collection, got {other!r}. Write Dataset900_MOTS or "
            f"remove it."
        )
    return other


def _task(name: str, entry: Any, file: Path) -> ManifestTask:
    place = f"{file}: task {name!r}"
    check_task_name(name, file)
    if not isinstance(entry, dict) or not isinstance(entry.get("dataset"), str):
        raise UserError(f'{place}: expected {{"dataset": "Dataset003_Liver"}}, got {entry!r}. Name its dataset.')
    _check_keys(entry, TASK_KEYS, TASK_KEYS, place)
    check_dataset_name(entry["dataset"], file)
    source = entry.get("source")
    if source is not None and not isinstance(source, str):
        raise UserError(f"{place}: 'source': expected the name of a dataset, got {source!r}. Correct it.")
    weight, spacing, normalization = (entry.get(key) for key in ("weight", "spacing", "normalization"))
    return ManifestTask(
        name,
        entry["dataset"],
        source,
        _labels(entry, place),
        None if weight is None else check_weight(weight, f"{place}: 'weight'"),
        None if spacing is None else check_spacing(spacing, f"{place}: 'spacing'"),
        None if normalization is None else check_normalization(normalization, f"{place}: 'normalization'"),
    )


def _labels(entry: dict[str, Any], place: str) -> tuple[tuple[str, str], ...]:
    labels = entry.get("labels")
    if labels is None:
        return ()
    if not isinstance(labels, dict) or not all(isinstance(new, str) for new in labels.values()):
        raise UserError(
            f"{place}: 'labels': expected names in the source and names in the member, got {labels!r}. Write "
            f'{{"Anterior": "Anterior"}}.'
        )
    if entry.get("source") is None:
        raise UserError(
            f"{place}: expected 'labels' only beside 'source' (a member is trained with all its labels), found none. "
            f"Let nnunet_ext collect write a member with these labels: {dataset_number(entry['dataset'])}:labels="
            f"{'+'.join(labels)}"
        )
    return tuple(labels.items())


def _check_keys(found: Mapping[str, Any], legal: Iterable[str], named: Iterable[str], place: str) -> None:
    for key in found:
        if key in legal:
            continue
        if CASCADE.search(key):
            raise UserError(
                f"{place}: expected no {key!r}: a collection has the one configuration 3d_fullres, because its members "
                f"share patch and network, and no cascade. Remove the key."
            )
        raise UserError(f"{place}: unknown key {key!r}. {nearest(key, named)}")


def _check_unique(names: Iterable[str], kind: str, file: Path) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if name.casefold() in seen:
            raise UserError(
                f"{file}: expected each {kind} once, found {seen[name.casefold()]!r} and {name!r}. "
                f"{'Rename one' if kind == 'task' else 'Make parts of it with nnunet_ext collect, or remove a task'}."
            )
        seen[name.casefold()] = name


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
