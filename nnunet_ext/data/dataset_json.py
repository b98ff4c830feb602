"""dataset.json, read as nnU-Net interprets it.

nnU-Net accepts labels that are written as text, and further keys of any name and content. So labels become numbers when
the file is read, and a key is ours only if its content has our form.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nnunet_ext.errors import UserError, nearest
from nnunet_ext.files.json_file import read_json

BACKGROUND, IGNORE = "background", "ignore"
UNLABELLED = "unlabelled"  # images without labels (nnunet_ext.semi_supervised.raw_images)
HIDDEN, TEST = "hidden_labels", "test"  # nnunet_ext.semi_supervised.hidden_labels
ANNOTATED = "annotated"  # the classes that were annotated in each case (annotated_in_cases)
PART = "source"  # where a part was taken from (nnunet_ext.collection.collect.part)
NEEDED_BY_NNUNET = {"labels", "file_ending", "numTraining"}
DATASET_NAME = re.compile(r"Dataset\d{3}_.+")


def dataset_number(name: str) -> int:
    """Return the number of ``Dataset003_Liver``."""
    return int(name[7:10])


def read_dataset_json(file: Path) -> dict[str, Any]:
    """Return the dataset.json of a raw or preprocessed dataset or of a model, with its labels as numbers.

    Raises:
        UserError: It is missing or broken, or nnU-Net does not accept its labels.
    """
    description = read_json(file)
    if not isinstance(description, dict):
        raise UserError(f'{file}: expected an object, got {type(description).__name__}. Write {{"labels": ...}}.')
    if not isinstance(description.get("labels"), dict) or not description["labels"]:
        raise UserError(
            f"{file}: expected 'labels' to be an object with an entry for each, got {description.get('labels')!r}. "
            f"Write it as nnU-Net's documentation, dataset_format.md, says."
        )
    return with_numbers(description, file)


def with_numbers(description: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return a dataset.json with labels and ``regions_class_order`` as numbers.

    Args:
        description: What the file holds.
        file: Its path, for messages.

    Raises:
        UserError: Text where nnU-Net compares it with voxels: a region's labels, or ``ignore``; or a label that is not
            a whole number.
    """
    labels = description["labels"]
    regions = any(isinstance(value, list | tuple) and len(value) > 1 for value in labels.values())
    for name, value in labels.items():
        wrong = [each for each in _values(value) if not _is_number(each)]
        if wrong:
            raise UserError(
                f"{file}: expected whole numbers as labels, got {wrong[0]!r} for {name!r}. Number the classes 1, 2, ..."
            )
        text = [each for each in _values(value) if isinstance(each, str)]
        if text and (regions or name == IGNORE):
            raise UserError(
                f"{file}: expected numbers as labels, because nnU-Net compares regions and 'ignore' with voxels, got "
                f"the text {text[0]!r} for {name!r}. Write it without quotation marks."
            )
    kept = {name: regions or name in (BACKGROUND, IGNORE) for name in labels}  # nnU-Net takes no list for these two
    numbers = {name: _as_number(value, kept[name]) for name, value in labels.items()}
    found = dict(description) | {"labels": numbers}
    order = description.get("regions_class_order")
    if isinstance(order, list) and all(map(_is_number, order)):
        found["regions_class_order"] = [int(float(value)) for value in order]
    return found


def foreground(labels: Mapping[str, Any]) -> dict[str, int | list[int]]:
    """Return the classes of ``labels``, read as numbers: all but background and ignore, with their label or region."""
    return {name: value for name, value in labels.items() if name != IGNORE and value not in (0, [0])}


def _values(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"\s*[+-]?\d+\s*", value) is not None
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _as_number(value: Any, keep_list: bool) -> int | list[int]:
    numbers = [int(each) for each in _values(value)]
    return numbers if isinstance(value, list | tuple) and (keep_list or len(numbers) != 1) else numbers[0]


def is_collection(description: Mapping[str, Any]) -> bool:
    """Whether a dataset.json is a collection's manifest; an ordinary dataset may have a key ``tasks`` of its own."""
    return "tasks" in description and not description.keys() >= NEEDED_BY_NNUNET


def part_record(description: Mapping[str, Any]) -> dict[str, str] | None:
    """Return what a part says about its origin, ``{"dataset": ..., "collection": ..., "task": ...}``, else None."""
    record = description.get(PART)
    if not isinstance(record, dict) or set(record) != {"dataset", "collection", "task"}:
        return None
    named = (record["dataset"], record["collection"])
    return record if all(isinstance(name, str) and DATASET_NAME.fullmatch(name) for name in named) else None


def scored_names(description: Mapping[str, Any], key: str) -> set[str]:
    """Return the cases under ``hidden_labels`` or ``test`` of a copy that ``nnunet_ext hide_labels`` wrote.

    Other datasets may have keys of these names: that of the Medical Segmentation Decathlon lists images under ``test``.
    """
    entries = description.get(key)
    if not isinstance(entries, dict):
        return set()
    unlabelled = description.get(UNLABELLED)
    if key == HIDDEN:
        whole = isinstance(unlabelled, dict) and entries.keys() <= unlabelled.keys()
        return {name for name, label in entries.items() if isinstance(label, str)} if whole else set()
    return {name for name, entry in entries.items() if isinstance(entry, dict) and {"images", "label"} <= entry.keys()}


def not_annotated(description: Mapping[str, Any], case: str) -> list[str]:
    """Return the classes that were not annotated in a case, by ``annotated`` of dataset.json."""
    entries = description.get(ANNOTATED)
    if not isinstance(entries, dict) or not isinstance(entries.get(case), list):
        return []
    return [name for name in description["labels"] if name not in {BACKGROUND, IGNORE, *entries[case]}]


def annotated_in_cases(
    description: Mapping[str, Any], known: Collection[str], classes: Collection[str], place: str
) -> dict[str, frozenset[str]]:
    """Return the classes that ``annotated`` names case by case; empty if there is no such entry.

    Args:
        description: Content of dataset.json.
        known: Names of the cases.
        classes: Names of the classes.
        place: What messages begin with.

    Raises:
        UserError: It has another form, or names an unknown case or class.
    """
    entries = description.get(ANNOTATED, {})
    if not isinstance(entries, dict):
        raise UserError(f'{place}: expected {ANNOTATED!r} to be {{"case_1": ["liver"]}}, got {entries!r}. Correct it.')
    place = f"{place}: {ANNOTATED!r}"
    for case, names in entries.items():
        if case not in known:
            raise UserError(f"{place}: unknown case {case!r}. {nearest(case, known)}")
        if not isinstance(names, list):
            raise UserError(f"{place}: expected a list of classes for case {case!r}, got {names!r}. Correct it.")
        if wrong := [name for name in names if not isinstance(name, str) or name not in classes]:
            raise UserError(f"{place}: unknown class {wrong[0]!r} of case {case!r}. {nearest(str(wrong[0]), classes)}")
    return {case: frozenset(names) for case, names in entries.items()}
