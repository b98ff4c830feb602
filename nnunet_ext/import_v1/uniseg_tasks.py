"""The tasks of a UniSeg checkpoint: what its weights do not say.

The authors' 11 tasks are known; those of another checkpoint are described in a file::

    [{"name": "liver", "labels": ["background", "liver", "tumour"], "channels": ["CT"], "spacing": [3, 1.5, 1.5]},
     {"name": "brain", "labels": ["background", "tumour"], "channels": ["T1", "FLAIR"], "spacing": [1, 1, 1],
      "mask": true}]

A channel named CT is clipped to ``"window"`` (default [-325, 325] HU) and scaled to [0, 1]; noNorm stays as it is; any
other is normalized by its mean and deviation, with ``"mask"`` those of the nonzero region.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.preprocessing.normalization.map_channel_name_to_normalization import get_normalization_scheme

from nnunet_ext.collection.manifest import check_task_name
from nnunet_ext.data.dataset_json import BACKGROUND
from nnunet_ext.errors import UserError, nearest
from nnunet_ext.files.json_file import read_json
from nnunet_ext.import_v1.preprocessing import Preprocessing

WINDOW = (-325.0, 325.0)  # HU, the authors' for every CT
KEYS = {"name", "labels", "channels", "spacing", "window", "mask", "cases"}
EXAMPLE = '{"name": "liver", "labels": ["background", "liver"], "channels": ["CT"], "spacing": [3, 1.5, 1.5]}'


@dataclass(frozen=True)
class UniSegTask:
    """One task of a UniSeg checkpoint.

    Args:
        name: Its name.
        labels: Classes in the order of the logits, background first.
        channels: Names of the image channels.
        spacing: Target spacing (D, H, W), mm.
        window: HU to which CT is clipped.
        mask: Whether other images are normalized inside their nonzero region.
        cases: Training cases, if known.
    """

    name: str
    labels: tuple[str, ...]
    channels: tuple[str, ...]
    spacing: tuple[float, ...]
    window: tuple[float, float] = WINDOW
    mask: bool = False
    cases: int = 0

    @classmethod
    def read(cls, file: Path) -> tuple[UniSegTask, ...]:
        """Read the tasks that a user described, in the order of their numbers in the checkpoint.

        Raises:
            UserError: The first mistake.
        """
        entries = read_json(file, unique=True)
        if not isinstance(entries, list) or not entries:
            raise UserError(f"{file}: expected a list of tasks, got {type(entries).__name__}. Write [{EXAMPLE}, ...].")
        tasks = tuple(cls._of(entry, f"{file}, task {number}") for number, entry in enumerate(entries))
        names = [task.name for task in tasks]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"{file}: expected tasks of different names, found {twice!r} twice. Rename one.")
        return tasks

    @classmethod
    def _of(cls, entry: Any, place: str) -> UniSegTask:
        if not isinstance(entry, dict):
            raise UserError(f"{place}: expected an object, got {entry!r}. Write {EXAMPLE}.")
        strange = next((key for key in entry if key not in KEYS), None)
        if strange is not None:
            raise UserError(f"{place}: unknown key {strange!r}. {nearest(str(strange), KEYS)}")
        labels, channels = (_texts(entry, key, place) for key in ("labels", "channels"))
        if labels[0] != BACKGROUND or len(set(labels)) < max(2, len(labels)):
            raise UserError(
                f"{place}: expected 'labels' of different names, {BACKGROUND!r} first, got {list(labels)}. Name the "
                f"classes in the order of the logits."
            )
        spacing = _numbers(entry, "spacing", place, 3)
        if min(spacing) <= 0:
            raise UserError(f"{place}: expected 'spacing' above 0 mm, got {list(spacing)}. Write it as D, H, W.")
        low, high = _numbers(entry, "window", place, 2) if "window" in entry else WINDOW
        if low >= high:
            raise UserError(f"{place}: expected 'window' from low to high HU, got {[low, high]}. Exchange them.")
        mask, cases = entry.get("mask", False), entry.get("cases", 0)
        if not isinstance(mask, bool) or isinstance(cases, bool) or not isinstance(cases, int) or cases < 0:
            raise UserError(
                f"{place}: expected 'mask' true or false and 'cases' a number, got {mask!r} and {cases!r}. Correct it."
            )
        name = entry.get("name")
        check_task_name(name if isinstance(name, str) else "", place)
        return cls(str(name), labels, channels, spacing, (low, high), mask, cases)

    @property
    def described_labels(self) -> dict[str, int]:
        """Labels as dataset.json has them."""
        return {name: number for number, name in enumerate(self.labels)}

    def preprocessing(self) -> Preprocessing:
        """Return what v2 needs to preprocess images of the task as the authors did."""
        schemes = [get_normalization_scheme(name).__name__ for name in self.channels]
        low, high = self.window
        window = {"percentile_00_5": low, "percentile_99_5": high, "mean": low, "std": high - low}
        return Preprocessing(
            spacing=self.spacing,
            schemes=schemes,
            masks=[self.mask and scheme == "ZScoreNormalization" for scheme in schemes],
            intensities={
                str(channel): window if scheme == "CTNormalization" else {} for channel, scheme in enumerate(schemes)
            },
        )


def _texts(entry: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    found = entry.get(key)
    if not isinstance(found, list) or not found or not all(isinstance(each, str) and each for each in found):
        raise UserError(f"{place}: expected {key!r} to be a list of names, got {found!r}. Write {EXAMPLE}.")
    return tuple(found)


def _numbers(entry: Mapping[str, Any], key: str, place: str, count: int) -> tuple[float, ...]:
    found = entry.get(key)
    numbers: Sequence[Any] = found if isinstance(found, list) else ()
    if len(numbers) != count or not all(type(each) in (int, float) and math.isfinite(each) for each in numbers):
        raise UserError(f"{place}: expected {key!r} to be {count} numbers, got {found!r}. Write {EXAMPLE}.")
    return tuple(float(each) for each in numbers)


_CT, _MOTS = ("CT",), (3.0, 1.5, 1.5)
AUTHORS = (
    UniSegTask("liver", (BACKGROUND, "liver", "tumour"), _CT, _MOTS, cases=104),
    UniSegTask("kidney", (BACKGROUND, "kidney", "tumour"), _CT, _MOTS, cases=168),
    UniSegTask("hepatic_vessel", (BACKGROUND, "vessel", "tumour"), _CT, _MOTS, cases=242),
    UniSegTask("pancreas", (BACKGROUND, "pancreas", "tumour"), _CT, _MOTS, cases=224),
    UniSegTask("colon", (BACKGROUND, "tumour"), _CT, _MOTS, cases=100),
    UniSegTask("lung", (BACKGROUND, "tumour"), _CT, _MOTS, cases=50),
    UniSegTask("spleen", (BACKGROUND, "spleen"), _CT, _MOTS, cases=32),
    UniSegTask("vertebrae", (BACKGROUND, "vertebrae"), _CT, (4.0, 2.0, 2.0), cases=171),
    UniSegTask("prostate", (BACKGROUND, "prostate"), ("MR",), _MOTS, cases=91),
    UniSegTask(
        "brain",
        (BACKGROUND, "edema", "non_enhancing", "enhancing"),
        ("MR_0", "MR_1", "MR_2", "MR_3"),
        (1.0, 1.0, 1.0),
        mask=True,
        cases=1000,
    ),
    UniSegTask("whole_body", (BACKGROUND, "tumour"), ("CT", "PET"), (8.0, 4.0, 4.0), cases=400),
)
"""The authors' 11 tasks, in the order of their numbers."""
