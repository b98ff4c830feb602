"""The sentences of reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnunet_ext.data.classes import foreground_classes, map_names
from nnunet_ext.labels.suspects.case_measures import CaseMeasures
from nnunet_ext.labels.suspects.class_measures import ClassMeasures, Untouched
from nnunet_ext.labels.suspects.repairs import MIRRORED, SHIFTED, SWAPPED, Repair
from nnunet_ext.quality.wording import amount

LACKING, ABSENT = "lacking", "absent"  # a class that only the prediction, or only the label has
AXES = ("z", "y", "x")  # of (D, H, W)


class Words:
    """Names classes as users know them, and axes as the file has them, x first.

    Args:
        description: dataset.json, with labels as numbers.

    Example:
        >>> from nnunet_ext.labels.suspects.repairs import Repair
        >>> Words({"labels": {"background": 0, "liver": 1}}).of_repair(Repair("shifted", 0.4, 0.9, (3, 0, 0)))
        'the label is shifted by (0, 0, 3) voxels'
    """

    def __init__(self, description: Mapping[str, Any]) -> None:
        self._values = foreground_classes(description)
        self._by_label = map_names(description)

    def of_repair(self, repair: Repair) -> str:
        """Say what is wrong with a whole label, or which classes are exchanged."""
        if repair.kind == SHIFTED:
            return f"the label is shifted by {_steps(repair)} voxels"
        if repair.kind == MIRRORED:
            return f"the label is mirrored along {AXES[repair.detail[0]]}"
        one, other = (f"{label} ({self._by_label[label]})" for label in repair.detail)
        return (
            f"labels {one} and {other} are swapped: at least {100 * repair.gain:.0f} % of either is predicted as the "
            f"other"
        )

    def classes_of(self, repair: Repair, case: CaseMeasures) -> tuple[str, ...]:
        """Return the classes that a repair concerns."""
        if repair.kind == SWAPPED:
            return tuple(self._by_label[label] for label in repair.detail)
        return tuple(case.classes)

    def of_beyond(self, share: float) -> str:
        """Say how much of a label lies where there is no image."""
        return f"{100 * share:.0f} % of the label lies where the image is 0"

    def of_class(self, kind: str, name: str, found: ClassMeasures) -> str:
        """Say what is unusual in a class."""
        called = self._called(name)
        sentences = {
            LACKING: lambda: f"{called} is missing in the label, the prediction has {found.predicted} voxels of it",
            ABSENT: lambda: f"{called} has {found.labelled} voxels in the label, the prediction has none",
            SHIFTED: lambda: f"{called} is shifted by {_steps(found.shift)} voxels",
            "other": lambda: f"{100 * found.other_share:.0f} % of {called} is predicted as {found.other}",
            "missed": lambda: f"{called}: {_components(found.missed)} predicted and not labelled",
            "extra": lambda: f"{called}: {_components(found.extra)} labelled and not predicted",
            "distance": lambda: _boundary(called, found),
            "inside": lambda: (
                f"{called}: {100 * (found.inside or 0):.0f} % of its volume is confidently predicted, and labelled as "
                f"background"
            ),
            "outside": lambda: (
                f"{called}: {100 * (found.outside or 0):.0f} % of its volume is labelled, and confidently predicted as "
                f"background"
            ),
            "dice": lambda: f"{called}: Dice of label and prediction is {found.dice:.2f}, low for its volume",
        }
        return sentences[kind]()

    def _called(self, name: str) -> str:
        value = self._values[name]
        return f"region {name}" if isinstance(value, tuple) else f"label {value} ({name})"


def _steps(repair: Repair | None) -> str:
    assert repair is not None  # there is a gain
    return f"({', '.join(str(step) for step in reversed(repair.detail))})"


def _components(found: Untouched) -> str:
    place = ", ".join(str(step) for step in reversed(found.centre))
    others = f", the largest with {found.largest} voxels" if found.count > 1 else f" of {found.largest} voxels"
    return f"{found.count} component{'s' * (found.count > 1)}{others} around voxel ({place})"


def _boundary(called: str, found: ClassMeasures) -> str:
    distance = found.distance or 0.0
    size, side = ("small", "inside") if distance < 0 else ("large", "outside")
    return (
        f"{called} is drawn too {size}: its surface lies {amount(abs(distance))} mm {side} the prediction's on average"
    )
