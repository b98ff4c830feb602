"""A label map of KiTS from what several annotators drew, by the challenge's rule (neheller/kits21).

For each instance, the voxels that more than half of its annotations hold. Instances are painted in the order kidney,
cyst, tumor; later ones overwrite earlier ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.challenges.conversion.conversion import MadeLabel
from nnunet_ext.challenges.conversion.voxel_file import VoxelFile
from nnunet_ext.challenges.kits21_samples import INSTANCE, PAINTED, Instance, annotations_of, instances_folder
from nnunet_ext.files.system_files import files_in


@dataclass(frozen=True)
class MajorityLabel:
    """How the instances of a case become labels.

    Args:
        instances: Kidneys, tumors and cysts, each with the binary masks of its annotations.
    """

    instances: tuple[Instance, ...]

    @classmethod
    def find(cls, case: Path) -> MajorityLabel | None:
        """Find the annotations of a case, ``case_00000``; None if there are none."""
        folder = instances_folder(case)
        if folder is None or not any(INSTANCE.fullmatch(file.name) for file in files_in(folder)):
            return None
        return cls(tuple(annotations_of(case)))

    @property
    def files(self) -> tuple[Path, ...]:
        """All masks."""
        return tuple(file for instance in self.instances for file in instance.files)

    @property
    def rule(self) -> str:
        """Nothing but the files matters."""
        return "majority"

    def make(self) -> MadeLabel:
        """Take the majority of each instance and paint the instances.

        The record says how many instances have how many annotations.

        Raises:
            UserError: A file is damaged or no mask.
        """
        labels = np.zeros(VoxelFile(self.files[0]).grid().shape, np.uint8)
        for kind, value in PAINTED.items():
            for instance in self.instances:
                if instance.kind == kind:
                    labels[majority(instance.files)] = value
        counts = Counter(str(len(instance.files)) for instance in self.instances)
        return MadeLabel(labels, {"instances_by_annotations": dict(sorted(counts.items()))})


def majority(files: Sequence[Path]) -> NDArray[np.bool_]:
    """Return the voxels (D, H, W) that more than half of some masks hold."""
    votes = np.zeros(VoxelFile(files[0]).grid().shape, np.uint8)
    for file in files:
        votes += VoxelFile(file).mask()
    return votes * 2 > len(files)
