"""KiTS21: kidney and mass, mass, tumor, compared with label maps sampled from three annotators.

The tolerances of the surface Dice are averages over cases of the 95th percentile of the distances between annotators'
surfaces. Challenge code: https://github.com/neheller/kits21, ``kits21/evaluation``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.challenges.case_masks import CaseMasks
from nnunet_ext.challenges.challenge import ONE_OR_ZERO, Challenge, Measure, Structure, columns_by_metric, some_cases
from nnunet_ext.challenges.kits21_samples import CASE, annotations_of, instances_folder, sampled_label_maps
from nnunet_ext.evaluation.mask_metrics import DICE, surface_dice
from nnunet_ext.files.system_files import files_in

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

# by hierarchical evaluation class: the word in the table's columns, labels, tolerance in mm
CLASSES = {
    "kidney_and_mass": ("kidney", (1, 2, 3), 1.0330772532390826),
    "mass": ("masses", (2, 3), 1.1328796488598762),
    "tumor": ("tumor", (2,), 1.1498198361434828),
}
MAJORITY = ("aggregated_MAJ_seg.nii.gz", "segmentation.nii.gz")  # of KiTS21, of KiTS23
STRUCTURES = tuple(
    Structure(
        name,
        labels,
        (
            Measure(f"Dice_{word}", DICE, ONE_OR_ZERO),
            Measure(f"SD_{word}", surface_dice(tolerance), ONE_OR_ZERO),
        ),
    )
    for name, (word, labels, tolerance) in CLASSES.items()
)


@dataclass(frozen=True)
class _Kits21(Challenge):
    """Each prediction is compared with all samples of the annotations, and the mean is taken."""

    def references(self, folder: Path) -> dict[str, Path]:
        """Return the folders ``case_00000`` that have a folder of instances."""
        found = {path.name: path for path in files_in(folder) if CASE.fullmatch(path.name) and instances_folder(path)}
        return some_cases(found, folder, "folders such as case_00000/segmentations (or instances), or --majority")

    def example(self, reference: Path) -> Path:
        """Return the first file of an instance."""
        return next(iter(annotations_of(reference)[0].files))

    def read_references(self, path: Path, reader: BaseReaderWriter) -> Iterator[CaseMasks]:
        """Paint the samples of a case, one after another."""
        return sampled_label_maps(path, reader)


@dataclass(frozen=True)
class _Kits21Majority(Challenge):
    """Each prediction is compared with the majority vote, the challenge's quick proxy."""

    def references(self, folder: Path) -> dict[str, Path]:
        """Return the majority votes in folders ``case_00000``, else label maps in the folder itself."""
        files = {
            path.name: path / name
            for path in files_in(folder)
            for name in MAJORITY
            if CASE.fullmatch(path.name) and (path / name).is_file()
        }
        return files or self._found(folder)


def kits21(*, majority: bool = False) -> Challenge:
    """Return the challenge.

    Args:
        majority: Compare with the majority vote of the annotators instead of samples of their annotations.

    Example:
        >>> kits21().columns
        ('Dice_kidney', 'Dice_masses', 'Dice_tumor', 'SD_kidney', 'SD_masses', 'SD_tumor')
    """
    sampled = _Kits21(
        name="kits21",
        structures=STRUCTURES,
        columns=columns_by_metric(STRUCTURES),
        spacing_of="prediction",
        case_column="caseID",
        table="evaluation_samples.csv",
        missing="the challenge's code leaves them out: --missing skip",
    )
    return replace(_Kits21Majority(**vars(sampled)), table="evaluation.csv") if majority else sampled
