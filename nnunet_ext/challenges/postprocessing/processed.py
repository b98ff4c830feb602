"""A label map after some rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.challenges.case_masks import LabelMap
from nnunet_ext.challenges.postprocessing.components import Components, voxel_volume
from nnunet_ext.challenges.postprocessing.rule import LARGEST, MINIMUM_VOLUME, Rule


def processed(labels: LabelMap, rules: Sequence[Rule], structures: Mapping[str, tuple[int, ...]]) -> LabelMap:
    """Apply rules one after another, each to what the one before left.

    A removed voxel never becomes part of another structure. It gets a label whose structures are some of its own, but
    not the one that it is removed from: of these labels, the one that most voxels have that touch the component; of
    equally frequent ones the smallest, and background if none is there. So a tumor that lies in a kidney becomes kidney
    where tumor is declared as part of a region kidney; without such regions, it becomes background.

    Args:
        labels: The label map; it is not changed.
        rules: In this order.
        structures: The labels of all structures by name.

    Returns:
        Another label map, or the same if nothing is removed.
    """
    for rule in rules:
        labels = _after(labels, rule, structures)
    return labels


def _after(before: LabelMap, rule: Rule, structures: Mapping[str, tuple[int, ...]]) -> LabelMap:
    own = structures[rule.structure]
    found = Components.of(before, own)
    if found is None:
        return before
    part = before.labels[found.box]
    removed = np.setdiff1d(np.arange(1, len(found.sizes) + 1), _kept(found, rule, part, own, structures, before))
    if not removed.size:
        return before
    labels = before.labels.copy()
    _fill(labels[found.box], found, removed, _replacements(rule.structure, structures))
    return LabelMap(labels, before.grid)


def _kept(
    found: Components,
    rule: Rule,
    part: NDArray[np.integer],
    own: tuple[int, ...],
    structures: Mapping[str, tuple[int, ...]],
    labels: LabelMap,
) -> NDArray[np.intp]:
    if rule.kind == LARGEST:
        return found.largest(int(rule.value))
    if rule.kind == MINIMUM_VOLUME:
        return np.flatnonzero(found.sizes * voxel_volume(labels.grid) >= float(rule.value)) + 1
    return found.touching(np.isin(part, sorted(set(structures[str(rule.value)]) - set(own))))


def _replacements(structure: str, structures: Mapping[str, tuple[int, ...]]) -> dict[int, list[int]]:
    """For each label of a structure: the labels that a voxel without the structure may get, in ascending order."""
    of_label: dict[int, set[str]] = {0: set()}
    for name, labels in structures.items():
        for label in labels:
            of_label.setdefault(label, set()).add(name)
    return {
        label: sorted(other for other, names in of_label.items() if names <= of_label[label] - {structure})
        for label in structures[structure]
    }


def _fill(
    part: NDArray[np.integer], found: Components, removed: NDArray[np.intp], replacements: Mapping[int, list[int]]
) -> None:
    """Write other labels into the removed components of a part of the image, in place."""
    if all(legal == [0] for legal in replacements.values()):
        part[np.isin(found.numbers, removed)] = 0
        return
    highest = max(label for legal in replacements.values() for label in legal)
    for number in removed:
        box, inside, shell = found.around(int(number))
        values = part[box]
        beside = values[shell]  # no voxel of the structure, and so none that was written here
        counts = np.bincount(beside[beside <= highest], minlength=highest + 1)
        for label in np.unique(values[inside]):
            legal = replacements[int(label)]
            values[inside & (values == label)] = max(legal, key=lambda each: (counts[each], -each))
