"""Some of a dataset's classes, renamed and renumbered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.data.dataset_json import BACKGROUND, IGNORE
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError, nearest


@dataclass(frozen=True)
class LabelSubset:
    """What the label files and the dataset.json of a part contain.

    Args:
        labels: ``labels`` of the part's dataset.json: background, the classes in the source's order, ignore.
        regions_class_order: Its ``regions_class_order``, or None.
        values: Each value of the source's label files and what it becomes; other classes become background.
    """

    labels: dict[str, int | list[int]]
    regions_class_order: list[int] | None
    values: dict[int, int]


def class_values(dataset: RawDataset) -> dict[str, tuple[int, ...]]:
    """Return each foreground class or region of a dataset and its values, in the order of the heads."""
    classes = foreground_classes(dataset.description)
    return {name: value if isinstance(value, tuple) else (value,) for name, value in classes.items()}


def check_labels(chosen: Mapping[str, str], dataset: RawDataset, place: str) -> None:
    """Refuse classes that the source lacks and names that the part cannot have.

    Raises:
        UserError: The first of them.
    """
    legal = class_values(dataset)
    for name in chosen:
        if name in (BACKGROUND, IGNORE):
            raise UserError(f"{place}: expected classes, got {name!r}, which every part keeps anyway. Leave it out.")
        if name not in legal:
            raise UserError(f"{place}: unknown label {name!r} of {dataset.folder.name}. {nearest(name, legal)}")
    new = list(chosen.values())
    for name in new:
        if name in (BACKGROUND, IGNORE, "") or new.count(name) > 1:
            raise UserError(
                f"{place}: expected a name of its own for each class, not 'background' or 'ignore', got "
                f"{', '.join(map(repr, new))}. Rename one."
            )


def label_subset(dataset: RawDataset, chosen: Mapping[str, str]) -> LabelSubset:
    """Keep some classes or regions.

    The remaining values are numbered 1, 2, ... in their old order; ignore stays the highest.

    Args:
        dataset: The source.
        chosen: Names in the source and names in the part.

    Raises:
        UserError: The source's regions_class_order does not fit its regions.
    """
    classes = class_values(dataset)
    kept = sorted({value for name in chosen for value in classes[name]} - {0})
    values = dict.fromkeys(dataset.legal_labels(), 0) | {old: new for new, old in enumerate(kept, 1)}
    regions = {name: [values[value] for value in old] for name, old in classes.items() if name in chosen}
    labels: dict[str, int | list[int]] = {BACKGROUND: 0}
    has_regions = any(len(region) > 1 for region in regions.values())
    labels.update({chosen[name]: region if has_regions else region[0] for name, region in regions.items()})
    if IGNORE in dataset.description["labels"]:
        labels[IGNORE] = values[int(dataset.description["labels"][IGNORE])] = len(kept) + 1
    return LabelSubset(labels, _order(dataset, classes, chosen, values) if has_regions else None, values)


def _order(
    dataset: RawDataset, classes: Mapping[str, Any], chosen: Mapping[str, str], values: Mapping[int, int]
) -> list[int]:
    """The value that each kept region writes when it is predicted."""
    written = dict(zip(classes, dataset.description["regions_class_order"], strict=True))
    for name in chosen:
        if written[name] not in classes[name]:
            raise UserError(
                f"{dataset.file}: expected 'regions_class_order' to name one of the values {list(classes[name])} for "
                f"region {name!r}, got {written[name]}. Correct it."
            )
    return [values[int(written[name])] for name in classes if name in chosen]
