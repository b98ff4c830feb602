"""Overlapping structures as one label map: each label stands for a combination of structures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.challenges.conversion.challenge_record import MOST
from nnunet_ext.errors import UserError

JOINED = "-"
Combination = frozenset[str]


@dataclass(frozen=True)
class Merged:
    """A label map made from masks, and what it does not hold of them.

    Args:
        labels: (D, H, W), uint16.
        voxels: Voxels of each structure's mask.
        lost: Voxels that are in a structure's mask and not in what the labels give back; structures without are left
            out.
        gained: Voxels that the labels give back and that are not in its mask.
    """

    labels: NDArray[np.uint16]
    voxels: dict[str, int]
    lost: dict[str, int]
    gained: dict[str, int]


@dataclass(frozen=True)
class Partition:
    """The combinations of structures that have a label; label 0 is the empty one.

    A voxel with another combination takes the label of the nearest one: the one that loses the fewest of its
    structures; of equals the one that adds the fewest; of equals the one that keeps the structures that come first in
    ``precedence``; of equals the lowest label.

    Args:
        combinations: Those of labels 1, 2, ...
        precedence: All structures; those that come first are kept first.

    Example:
        >>> parts = Partition((frozenset({"eye"}), frozenset({"eye", "lens"})), ("lens", "eye"))
        >>> masks = {"eye": np.array([[[1, 1, 0, 0]]], bool), "lens": np.array([[[0, 1, 1, 0]]], bool)}
        >>> merged = parts.merge(masks.items(), (1, 1, 4))
        >>> merged.labels.tolist(), merged.lost, merged.gained
        ([[[1, 2, 2, 0]]], {}, {'eye': 1})
    """

    combinations: tuple[Combination, ...]
    precedence: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a partition that cannot be named.

        Raises:
            UserError: A combination or its name is there twice, or one has structures that ``precedence`` lacks.
        """
        unknown = set().union(*self.combinations) - set(self.precedence)
        if unknown or len(set(self.names)) < len(self.combinations) or frozenset() in self.combinations:
            raise UserError(
                f"combinations of structures: expected each once, of some of {', '.join(self.precedence)}, got "
                f"{', '.join(self.names)}. Rename structures whose names hold {JOINED!r}."
            )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Name of each combination for dataset.json, such as ``Brain-BrainStem``: larger structures first."""
        last_first = {name: -place for place, name in enumerate(self.precedence)}
        return tuple(JOINED.join(sorted(each, key=lambda name: last_first.get(name, 0))) for each in self.combinations)

    def labels_of(self, structures: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Return the labels whose union is a structure, for each of some structures."""
        numbered = list(enumerate(self.combinations, start=1))
        return {name: tuple(label for label, each in numbered if name in each) for name in structures}

    def nearest(self, structures: Iterable[str]) -> int:
        """Return the label of a combination, or of the one that is nearest to it."""
        wanted = frozenset(structures)

        def distance(label: int) -> tuple[int, int, list[int], int]:
            lost, gained = wanted - self._of_label(label), self._of_label(label) - wanted
            # the fewer early structures are lost, the better; of equally many, later ones
            places = sorted(self.precedence.index(name) for name in lost)
            return len(lost), len(gained), [-place for place in places], label

        return min(range(len(self.combinations) + 1), key=distance)

    def _of_label(self, label: int) -> Combination:
        return self.combinations[label - 1] if label else frozenset()

    def merge(self, masks: Iterable[tuple[str, NDArray[np.bool_]]], shape: Sequence[int]) -> Merged:
        """Make a label map of masks, which are asked for one after the other.

        Args:
            masks: Name and mask of each structure.
            shape: Of all of them, (D, H, W).

        Raises:
            UserError: There are more combinations than can be counted.
        """
        count = CombinationCount.of(masks, shape)
        labels = {found: self.nearest(found) for found in count.voxels}
        table = np.array([labels.get(found, 0) for found in count.found], np.uint16)
        lost: dict[str, int] = {}
        gained: dict[str, int] = {}
        for found, number in count.voxels.items():
            given = self._of_label(labels[found])
            for name in found - given:
                lost[name] = lost.get(name, 0) + number
            for name in given - found:
                gained[name] = gained.get(name, 0) + number
        return Merged(table[count.index], count.of_structures(), lost, gained)


@dataclass(frozen=True)
class CombinationCount:
    """Which combinations of structures the voxels of a case have.

    Args:
        index: For each voxel (D, H, W) the place of its combination in ``found``; uint16, whatever the number of
            structures.
        found: The combinations; the first is the empty one. Some may have no voxel.
        structures: All structures, in the order in which they came.
        voxels: Voxels of each combination that has any, but for the empty one.
    """

    index: NDArray[np.uint16]
    found: tuple[Combination, ...]
    structures: tuple[str, ...]
    voxels: Mapping[Combination, int]

    @classmethod
    def of(cls, masks: Iterable[tuple[str, NDArray[np.bool_]]], shape: Sequence[int]) -> CombinationCount:
        """Count over masks of a shape (D, H, W), of which one at a time is held.

        Raises:
            UserError: There are more combinations than ``index`` can hold.
        """
        index = np.zeros(tuple(shape), np.uint16)
        places: dict[Combination, int] = {frozenset(): 0}
        structures = []
        for name, mask in masks:
            structures.append(name)
            found = list(places)
            before, inverse = np.unique(index[mask], return_inverse=True)
            after = [places.setdefault(found[old] | {name}, len(places)) for old in before]
            if len(places) > MOST + 1:
                raise UserError(
                    f"masks of one case: expected at most {MOST} combinations of overlapping structures, found more "
                    f"when {name} was added. Convert fewer structures at a time."
                )
            index[mask] = np.array(after, np.uint16)[inverse.reshape(-1)]
        numbers = np.bincount(index[index > 0], minlength=len(places))
        voxels = {each: int(numbers[place]) for each, place in places.items() if place and numbers[place]}
        return cls(index, tuple(places), tuple(structures), voxels)

    def of_structures(self) -> dict[str, int]:
        """Return the number of voxels of each structure."""
        return {name: sum(n for each, n in self.voxels.items() if name in each) for name in self.structures}
