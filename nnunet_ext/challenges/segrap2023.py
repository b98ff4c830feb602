"""SegRap2023: 45 organs at risk, or two tumor volumes, in CT of head and neck.

Organs overlap; a label map of them has a label for each of the 54 combinations that occur, and an organ is the union of
some. Challenge code: https://github.com/HiLab-git/SegRap2023, ``Eval``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from nnunet_ext.challenges.case_masks import IMAGE, CaseMasks, LabelMap, MaskFolder, MaskImage
from nnunet_ext.challenges.challenge import ONE_OR_ZERO, Challenge, Measure, Structure, label_files, some_cases
from nnunet_ext.errors import UserError, more
from nnunet_ext.evaluation.mask_metrics import DICE, surface_dice
from nnunet_ext.files.system_files import files_in

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

# in the order of the channels of a submission
ORGANS: Mapping[str, tuple[int, ...]] = {
    "Brain": (1, 2, 3, 4, 5, 6, 7, 8, 9),
    "BrainStem": (2,),
    "Chiasm": (3,),
    "TemporalLobe_L": (4, 6),
    "TemporalLobe_R": (5, 7),
    "Hippocampus_L": (6, 8),
    "Hippocampus_R": (7, 9),
    "Eye_L": (10, 12),
    "Eye_R": (11, 13),
    "Lens_L": (12,),
    "Lens_R": (13,),
    "OpticNerve_L": (14,),
    "OpticNerve_R": (15,),
    "MiddleEar_L": (16, 18, 20, 24, 28, 30),
    "MiddleEar_R": (17, 19, 21, 25, 29, 31),
    "IAC_L": (18,),
    "IAC_R": (19,),
    "TympanicCavity_L": (20, 22),
    "TympanicCavity_R": (21, 23),
    "VestibulSemi_L": (24, 26),
    "VestibulSemi_R": (25, 27),
    "Cochlea_L": (28,),
    "Cochlea_R": (29,),
    "ETbone_L": (30, 32),
    "ETbone_R": (31, 33),
    "Pituitary": (34,),
    "OralCavity": (35,),
    "Mandible_L": (36,),
    "Mandible_R": (37,),
    "Submandibular_L": (38,),
    "Submandibular_R": (39,),
    "Parotid_L": (40,),
    "Parotid_R": (41,),
    "Mastoid_L": (42,),
    "Mastoid_R": (43,),
    "TMjoint_L": (44,),
    "TMjoint_R": (45,),
    "SpinalCord": (46,),
    "Esophagus": (47,),
    "Larynx": (48, 49, 50, 51),
    "Larynx_Glottic": (49,),
    "Larynx_Supraglot": (50,),
    "PharynxConst": (51, 52),
    "Thyroid": (53,),
    "Trachea": (54,),
}
TUMORS: Mapping[str, tuple[int, ...]] = {"GTVp": (1,), "GTVnd": (2,)}
TOLERANCES = {"Larynx": 2.0, "OralCavity": 3.0}  # mm; all others 1


@dataclass(frozen=True)
class _SegRap(Challenge):
    """A case is a folder with a file for each structure, as the challenge ships and takes them, or a label map.

    A prediction may also be the image of all structures that a container writes, ``CASE.mha``.
    """

    def predictions(self, folder: Path) -> dict[str, Path]:
        """Return the file or folder of each predicted case."""
        return self._found(folder, label_files(folder, IMAGE))

    def example(self, reference: Path) -> Path:
        """Return the first file of a case."""
        if not reference.is_dir():
            return reference
        names = [f"{each.name}{self.ending}" for each in self.structures]
        return next(reference / name for name in names if (reference / name).is_file())

    def read_prediction(self, path: Path, reader: BaseReaderWriter) -> CaseMasks:
        """Read a folder of masks, an image of masks or a label map."""
        names = [each.name for each in self.structures]
        if path.is_dir():
            return MaskFolder(path, reader, names, self.ending)
        if path.name.endswith(IMAGE):
            return MaskImage(path, names)
        return LabelMap.read(path, reader, self.labels)

    def read_references(self, path: Path, reader: BaseReaderWriter) -> Iterator[CaseMasks]:
        """Read a folder of masks or a label map."""
        yield self.read_prediction(path, reader)

    def _found(self, folder: Path, images: Mapping[str, Path] = MappingProxyType({})) -> dict[str, Path]:
        names = [f"{each.name}{self.ending}" for each in self.structures]
        folders = {
            path.name: path
            for path in files_in(folder)
            if path.is_dir() and any((path / name).is_file() for name in names)
        }
        maps = label_files(folder, self.ending)
        found = {**maps, **images, **folders}
        if both := sorted(name for name in found if sum(name in kind for kind in (maps, images, folders)) > 1):
            raise UserError(
                f"{found[both[0]]}: expected a folder of masks, an image of masks or a label map of a case, found more "
                f"than one{more(len(both) - 1)}. Remove the others."
            )
        return some_cases(found, folder, f"folders CASE with {names[0]} and others, or label maps CASE{self.ending}")


def segrap2023(task: str) -> Challenge:
    """Return a task of the challenge.

    Args:
        task: ``oar``, the organs at risk, or ``gtv``, the tumor volumes.

    Example:
        >>> segrap2023("gtv").columns
        ('GTVp_DSC', 'GTVp_NSD', 'GTVnd_DSC', 'GTVnd_NSD')
    """
    structures = tuple(
        Structure(
            name,
            labels,
            (
                Measure(f"{name}_DSC", DICE, ONE_OR_ZERO),
                Measure(f"{name}_NSD", surface_dice(TOLERANCES.get(name, 1.0)), ONE_OR_ZERO),
            ),
        )
        for name, labels in {"oar": ORGANS, "gtv": TUMORS}[task].items()
    )
    return _SegRap(
        name=f"segrap2023_{task}",
        structures=structures,
        columns=tuple(measure.column for each in structures for measure in each.measures),
        spacing_of="reference",
        digits=4,
        missing="the challenge counts a missing output as 0: --missing worst",
    )
