"""What is counted of the components of a predicted case, to choose rules from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.challenges.case_masks import LabelMap
from nnunet_ext.challenges.challenge import Challenge, Structure
from nnunet_ext.challenges.matched_cases import MatchedCase
from nnunet_ext.challenges.postprocessing.components import Components, voxel_volume
from nnunet_ext.errors import UserError

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter


@dataclass(frozen=True)
class CaseComponents:
    """The components of all structures that a case has.

    Args:
        volumes: In mm3 (mm2 in a 2d image), the largest first, by structure.
        contact: By structure: how many voxels of each other structure touch its largest component.
    """

    volumes: Mapping[str, tuple[float, ...]]
    contact: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, labels: LabelMap, structures: Sequence[Structure]) -> CaseComponents:
        """Count them.

        Args:
            labels: The label map.
            structures: Of the challenge.
        """
        volumes, contact = {}, {}
        for structure in structures:
            found = Components.of(labels, structure.labels)
            if found is None:
                continue
            volume = voxel_volume(labels.grid)
            volumes[structure.name] = tuple(float(size * volume) for size in sorted(found.sizes, reverse=True))
            box, _, shell = found.around(int(found.largest(1)[0]))
            counts = np.bincount(labels.labels[found.box][box][shell])
            contact[structure.name] = {
                other.name: touching
                for other in structures
                if (touching := sum(int(counts[each]) for each in other.labels if each < len(counts)))
            }
        return cls(volumes, contact)


def read_label_map(case: MatchedCase, challenge: Challenge, reader: BaseReaderWriter) -> LabelMap:
    """Read a predicted label map.

    Raises:
        UserError: It cannot be read, or is a folder of masks.
    """
    assert case.prediction is not None
    found = challenge.read_prediction(case.prediction, reader)
    if not isinstance(found, LabelMap):
        raise UserError(
            f"{case.prediction}: expected a label map, found a folder of masks. Post-process label maps, and write the "
            f"masks of structures afterwards."
        )
    return found


def case_components(case: MatchedCase, challenge: Challenge, reader: BaseReaderWriter) -> tuple[str, CaseComponents]:
    """Read a predicted case, count its components, and return them with its name; see :func:`read_label_map`."""
    return case.name, CaseComponents.of(read_label_map(case, challenge, reader), challenge.structures)
