"""The 54 combinations of 45 organs that the baseline of SegRap2023 trains as labels, and which organs are kept first.

HiLab-git/SegRap2023 publishes the combinations, and label maps made with them, but not how overlapping masks become
such a map. Ours is :meth:`nnunet_ext.challenges.conversion.partition.Partition.merge` with the precedence given here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nnunet_ext.challenges.conversion.partition import Partition
from nnunet_ext.challenges.segrap2023 import ORGANS, TUMORS

# the smaller a structure, the more of its Dice a voxel is worth: roughly by size, the smallest first; {} is L and R
PRECEDENCE = """
Lens_{} Cochlea_{} Pituitary Chiasm IAC_{} OpticNerve_{} VestibulSemi_{} TympanicCavity_{} ETbone_{} TMjoint_{}
Hippocampus_{} Larynx_Glottic Larynx_Supraglot Eye_{} Submandibular_{} Mastoid_{} MiddleEar_{} Thyroid PharynxConst
SpinalCord Esophagus Trachea BrainStem Parotid_{} Larynx Mandible_{} TemporalLobe_{} OralCavity Brain
"""


def _combinations(structures: Mapping[str, tuple[int, ...]]) -> tuple[frozenset[str], ...]:
    """The structures of labels 1, 2, ..., given the labels of each structure."""
    last = max(label for labels in structures.values() for label in labels)
    return tuple(
        frozenset(name for name, labels in structures.items() if label in labels) for label in range(1, last + 1)
    )


def _both_sides(words: str) -> Iterator[str]:
    for word in words.split():
        yield from [word.replace("{}", side) for side in "LR"] if "{}" in word else [word]


ORGAN_PARTITION = Partition(_combinations(ORGANS), tuple(_both_sides(PRECEDENCE)))
TUMOR_PARTITION = Partition(_combinations(TUMORS), tuple(TUMORS))
