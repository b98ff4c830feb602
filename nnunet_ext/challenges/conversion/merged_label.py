"""A label map made from one binary mask for each structure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.challenges.conversion.conversion import MadeLabel
from nnunet_ext.challenges.conversion.partition import Combination, CombinationCount, Partition
from nnunet_ext.challenges.conversion.voxel_file import VoxelFile


@dataclass(frozen=True)
class MergedLabel:
    """How the masks of a case become labels.

    Args:
        image: The first image, on whose grid the masks lie.
        masks: The file of each structure. A structure without one has no voxel in this case.
        partition: The combinations of structures that have a label.
    """

    image: Path
    masks: Mapping[str, Path]
    partition: Partition

    @property
    def files(self) -> tuple[Path, ...]:
        """The masks."""
        return tuple(self.masks.values())

    @property
    def rule(self) -> str:
        """Changes when the partition does."""
        words = [*map(sorted, self.partition.combinations), self.partition.precedence]
        return hashlib.sha256(repr(words).encode()).hexdigest()

    def make(self) -> MadeLabel:
        """Merge the masks; at most one is held beside the labels.

        Raises:
            UserError: A file is damaged or no mask.
        """
        merged = self.partition.merge(self._read(), self._shape())
        found = {"voxels": merged.voxels, "lost": merged.lost, "gained": merged.gained}
        return MadeLabel(merged.labels, found)

    def combinations(self) -> Mapping[Combination, int]:
        """Return the voxels of each combination of structures that this case has.

        Raises:
            UserError: A file is damaged or no mask.
        """
        return CombinationCount.of(self._read(), self._shape()).voxels

    def _shape(self) -> tuple[int, ...]:
        return VoxelFile(self.image).grid().shape

    def _read(self) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        for name, file in self.masks.items():
            yield name, VoxelFile(file).mask()
