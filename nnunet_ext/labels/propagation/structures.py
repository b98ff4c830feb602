"""What is interpolated, a label or a region each, and how a label map is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.labels.propagation.signed_distance import Map, Mask

TIED = 1e-6  # mm: distances that differ by less are equal but for rounding


@dataclass(frozen=True)
class Structures:
    """The structures of a dataset.

    Args:
        members: The labels of each structure.
        values: The label that a voxel of it gets, unless a later structure takes it.
        regions: Structures overlap: they are regions.

    Example:
        >>> wall = Structures.of({"background": 0, "vessel": [1, 2], "lumen": 2}, [1, 2])
        >>> wall.parents(1)
        [0]
    """

    members: tuple[frozenset[int], ...]
    values: tuple[int, ...]
    regions: bool = False

    @classmethod
    def of(cls, labels: dict[str, Any], regions_class_order: Sequence[int] | None = None) -> Structures:
        """Read them from the entries of dataset.json, whose labels are numbers."""
        from nnunetv2.utilities.label_handling.label_handling import LabelManager

        manager = LabelManager(labels, regions_class_order)
        found = manager.foreground_regions if manager.has_regions else manager.foreground_labels
        members = tuple(frozenset(map(int, each if isinstance(each, list | tuple) else [each])) for each in found)
        order = manager.regions_class_order if manager.has_regions else manager.foreground_labels
        return cls(members, tuple(map(int, order)), manager.has_regions)

    def masks(self, labels: NDArray[Any]) -> list[Mask]:
        """Return the mask of each structure, and behind several labels that of all of them together."""
        found = [np.isin(labels, list(each)) for each in self.members]
        return found if self.regions or len(found) == 1 else [*found, np.logical_or.reduce(found)]

    def parents(self, number: int) -> list[int]:
        """Return the regions that contain one."""
        return [other for other, labels in enumerate(self.members) if labels > self.members[number]]

    def labels(self, distances: Sequence[Map]) -> NDArray[np.int64]:
        """Return the label map of signed distances.

        A voxel gets the structure in which it lies deepest. It must lie in one, or in all of them together: else
        labels that touch would leave a gap where their border moves. A distance of zero is outside, and the first label
        wins a tie. Regions may overlap; each is cut off at the border of those that contain it.

        Args:
            distances: Of each mask of :meth:`masks`, (H, W), inside positive.
        """
        found = np.zeros(distances[0].shape, np.int64)
        inside = [depth > TIED for depth in distances]
        if self.regions:
            for number, value in enumerate(self.values):
                found[np.logical_and.reduce([inside[each] for each in (number, *self.parents(number))])] = value
            return found
        each = distances[: len(self.members)]
        deepest = np.full(found.shape, -np.inf)
        for value, depth in zip(self.values, each, strict=True):
            deeper = depth > deepest + TIED
            found[deeper] = value
            deepest[deeper] = depth[deeper]
        found[~np.logical_or.reduce(inside)] = 0
        return found
