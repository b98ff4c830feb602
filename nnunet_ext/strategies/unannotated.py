"""Which classes of a dataset nobody annotated, in all cases or in some."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import load_pickle

from nnunet_ext.errors import UserError, nearest

ANNOTATED = "annotated"  # key in dataset.json: {"case_1": ["liver"]}; other cases were annotated for all classes
Value = int | tuple[int, ...]


@dataclass(frozen=True)
class Unannotated:
    """The classes that were not annotated.

    Args:
        everywhere: In cases that ``by_case`` does not name.
        by_case: In each of some cases.
    """

    everywhere: frozenset[str]
    by_case: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """The classes that were not annotated in some case."""
        return self.everywhere.union(*self.by_case.values())

    def of(self, case: str) -> frozenset[str]:
        """Return the classes that were not annotated in a case."""
        return self.by_case.get(case, self.everywhere)


def unannotated_in(
    candidates: Collection[str],
    classes: Mapping[str, Value],
    dataset_json: Mapping[str, Any],
    folder: Path,
    training: Iterable[str],
) -> Unannotated:
    """Return which of some classes nobody annotated.

    Where dataset.json says in ``annotated`` which classes were annotated in which case, it counts; a case that is not
    mentioned was annotated for all. Else a class was not annotated if it occurs in no training case.

    Args:
        candidates: Names that count.
        classes: All names with their labels or regions, as of
            :func:`nnunet_ext.data.classes.foreground_classes`.
        dataset_json: Content of dataset.json.
        folder: The preprocessed cases.
        training: Names of the training cases.

    Raises:
        UserError: ``annotated`` is not of that form, or names an unknown case or class.
    """
    if entries := dataset_json.get(ANNOTATED):
        known = {file.stem for file in folder.glob("*.pkl")}
        by_case = {case: _annotated(case, names, classes, known) for case, names in _cases(entries).items()}
        wanted = frozenset(candidates)
        return Unannotated(frozenset(), {case: wanted - names for case, names in by_case.items()})
    return Unannotated(frozenset(candidates) - occurring_classes(classes, folder, training))


def occurring_classes(classes: Mapping[str, Value], folder: Path, cases: Iterable[str]) -> frozenset[str]:
    """Return the classes with at least one voxel in the labels of preprocessed cases.

    Args:
        classes: Names with their labels or regions.
        folder: The preprocessed cases.
        cases: Names of the cases.
    """
    names = {_values(value): name for name, value in classes.items()}
    found: set[str] = set()
    for case in cases:
        locations = load_pickle(str(folder / f"{case}.pkl"))["class_locations"]
        found |= {names[_values(key)] for key, voxels in locations.items() if _values(key) in names and len(voxels)}
    return frozenset(found)


def _values(value: Any) -> tuple[int, ...]:
    return tuple(map(int, value)) if isinstance(value, list | tuple) else (int(value),)


def _cases(entries: Any) -> Mapping[str, Any]:
    if not isinstance(entries, dict):
        raise UserError(
            f'dataset.json: expected {ANNOTATED!r} to be {{"case_1": ["liver"]}}, got {entries!r}. Correct it.'
        )
    return entries


def _annotated(case: str, names: Any, classes: Mapping[str, Value], known: Collection[str]) -> frozenset[str]:
    place = f"dataset.json: {ANNOTATED!r}"
    if case not in known:
        raise UserError(f"{place}: unknown case {case!r}. {nearest(case, known)}")
    if not isinstance(names, list):
        raise UserError(f"{place}: expected a list of classes for case {case!r}, got {names!r}. Correct it.")
    if wrong := [name for name in names if name not in classes]:
        raise UserError(f"{place}: unknown class {wrong[0]!r} of case {case!r}. {nearest(str(wrong[0]), classes)}")
    return frozenset(names)
