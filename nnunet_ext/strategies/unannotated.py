"""Which classes of a dataset nobody annotated, in all cases or in some."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

from nnunet_ext.data.dataset_json import ANNOTATED, HIDDEN, TEST, annotated_in_cases, scored_names

Value = int | tuple[int, ...]
LOCATIONS = "class_locations"  # in a preprocessed case: voxels of each label or region


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

    def digest(self) -> str:
        """Return a hash of everything, which names no case."""
        content = [sorted(self.everywhere), sorted((case, sorted(names)) for case, names in self.by_case.items())]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


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
    if dataset_json.get(ANNOTATED):
        known = {file.stem for file in folder.glob("*.pkl")}
        known |= scored_names(dataset_json, HIDDEN) | scored_names(dataset_json, TEST)
        by_case = annotated_in_cases(dataset_json, known, classes, "dataset.json")
        wanted = frozenset(candidates)
        return Unannotated(frozenset(), {case: wanted - names for case, names in by_case.items()})
    return Unannotated(frozenset(candidates) - occurring_classes(classes, folder, training))


def occurring_classes(classes: Mapping[str, Value], folder: Path, cases: Iterable[str]) -> frozenset[str]:
    """Return the classes with at least one voxel in the labels of preprocessed cases.

    A region within which other regions lie occurs if a label occurs that is in none of these: of an organ with its
    tumour (1, 2), and the tumour (2), the latter's voxels do not say that anybody annotated the organ.

    Args:
        classes: Names with their labels or regions.
        folder: The preprocessed cases.
        cases: Names of the cases.
    """
    missing = {_values(value): name for name, value in classes.items()}
    own = _own_values(missing)
    found: set[str] = set()
    for case in cases:
        locations = load_pickle(str(folder / f"{case}.pkl"))[LOCATIONS]
        there = {_values(key): voxels for key, voxels in locations.items() if _values(key) in missing and len(voxels)}
        if there.keys() & own.keys():
            labels = infer_dataset_class(str(folder))(str(folder), [case]).load_case(case)[1][:]
            there = {key: voxels for key, voxels in there.items() if key not in own or _holds(labels, voxels, own[key])}
        found |= {missing.pop(key) for key in there}
    return frozenset(found)


def _own_values(regions: Collection[tuple[int, ...]]) -> dict[tuple[int, ...], list[int]]:
    """Return the labels that are in none of the smaller regions, of regions that hold such regions and such labels."""
    found = {}
    for region in regions:
        smaller = [set(other) for other in regions if set(other) < set(region)]
        if smaller and (alone := set(region).difference(*smaller)):
            found[region] = sorted(alone)
    return found


def _holds(labels: Any, voxels: Any, values: Sequence[int]) -> bool:
    """Whether one of these values is at one of these voxels, which nnU-Net's preprocessing has drawn from a region."""
    return bool(np.isin(labels[tuple(np.asarray(voxels).T)], values).any())


def _values(value: Any) -> tuple[int, ...]:
    return tuple(map(int, value)) if isinstance(value, list | tuple) else (int(value),)
