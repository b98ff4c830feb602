"""One label map from several tasks' label maps, by an explicit list of priorities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.data.dataset_json import foreground
from nnunet_ext.errors import UserError, nearest
from nnunet_ext.files.json_file import write_json
from nnunet_ext.files.label_file import write_label_map

FOLDER = "merged"


@dataclass(frozen=True)
class MergedLabel:
    """One label of a merged map.

    Args:
        task: The task that predicts it.
        label: Its name there.
        values: The values that it has in that task's label maps; a region has several.
    """

    task: str
    label: str
    values: tuple[int, ...]

    @property
    def name(self) -> str:
        """Its name in the merged map."""
        return f"{self.task}:{self.label}"


@dataclass(frozen=True)
class Merge:
    """What to merge, the highest priority first; a label's place in the list is its number, from 1.

    Args:
        labels: The labels.
    """

    labels: tuple[MergedLabel, ...]

    @classmethod
    def parse(cls, words: Iterable[str], descriptions: Mapping[str, Mapping[str, Any]]) -> Merge:
        """Read the words after ``--merge``.

        Args:
            words: ``task:label``, or ``task`` for all its labels that are not in the list by themselves: in the order
                of dataset.json, or regions in the opposite order, the inner before the outer.
            descriptions: dataset.json of each task that is predicted.

        Raises:
            UserError: Unknown task or label, or one that is listed twice.
        """
        if FOLDER in descriptions:
            raise UserError(
                f"--merge: expected no task named {FOLDER!r}, as the merged maps' folder. Merge without it."
            )
        words = list(words)
        explicit = {word for word in words if ":" in word}
        found: list[MergedLabel] = []
        for word in words:
            task, colon, label = word.partition(":")
            if task not in descriptions:
                raise UserError(f"--merge {word}: expected a task that is predicted. {nearest(task, descriptions)}")
            known = {entry.label: entry for entry in _labels(task, descriptions[task])}
            if colon and label not in known:
                raise UserError(f"--merge {word}: unknown label {label!r} of task {task!r}. {nearest(label, known)}")
            chosen = [known[label]] if colon else [entry for entry in known.values() if entry.name not in explicit]
            if not chosen or any(entry in found for entry in chosen):
                raise UserError(f"--merge {word}: expected each label once, got {word!r} again. Remove one of them.")
            found += chosen
        return cls(tuple(found))

    def apply(self, maps: Mapping[str, NDArray]) -> NDArray:
        """Merge label maps of one shape, given by task."""
        merged = np.zeros(next(iter(maps.values())).shape, np.uint8 if len(self.labels) < 255 else np.uint16)
        for number, label in reversed(list(enumerate(self.labels, start=1))):
            merged[np.isin(maps[label.task], label.values)] = number
        return merged

    def write(self, output: Path, cases: Sequence[str], ending: str, reader: Any) -> None:
        """Merge the label maps ``output/<task>/<case><ending>`` into ``output/merged``.

        Args:
            output: The folder.
            cases: Names of the cases.
            ending: Ending of their files.
            reader: The nnU-Net reader that reads and writes them.
        """
        folder = output / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        description = {
            "labels": {"background": 0} | {label.name: number for number, label in enumerate(self.labels, start=1)},
            "file_ending": ending,
        }
        write_json(folder / "dataset.json", description)
        tasks = list(dict.fromkeys(label.task for label in self.labels))
        for case in cases:
            read = {task: reader.read_seg(str(output / task / f"{case}{ending}")) for task in tasks}
            merged = self.apply({task: label_map[0] for task, (label_map, _) in read.items()})
            write_label_map(reader, merged, folder / f"{case}{ending}", read[tasks[0]][1])


def _labels(task: str, description: Mapping[str, Any]) -> Iterator[MergedLabel]:
    """The foreground labels of a task, the highest priority first."""
    found = []
    for label, value in foreground(description["labels"]).items():
        found.append(MergedLabel(task, label, tuple(value) if isinstance(value, list) else (value,)))
    yield from reversed(found) if any(len(label.values) > 1 for label in found) else found
