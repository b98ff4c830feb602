"""What a challenge measures, and where its files lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nnunet_ext.challenges.case_masks import CaseMasks, LabelMap
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.mask_metrics import EmptyRule, Metric
from nnunet_ext.files.system_files import DOUBLE

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

NIFTI = ".nii.gz"
READER = "overwrite_image_reader_writer"  # key of dataset.json
ONE_OR_ZERO = EmptyRule(both=1.0, one=0.0)


@dataclass(frozen=True)
class Measure:
    """A number of each case.

    Args:
        column: Its name in the table.
        metric: What is computed.
        empty: What counts where masks are empty.
    """

    column: str
    metric: Metric
    empty: EmptyRule


@dataclass(frozen=True)
class Structure:
    """A structure, or a region of several labels.

    Args:
        name: Of the challenge.
        labels: The labels that make it up.
        measures: What is measured of it.
    """

    name: str
    labels: tuple[int, ...]
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class Challenge:
    """A challenge or dataset, of which each case has one label map with the labels of its structures.

    Args:
        name: Of the command.
        structures: What is measured, in the challenge's order.
        columns: The columns of its table, in the challenge's order.
        spacing_of: The file whose voxel size counts.
        case_column: Name of the first column.
        table: Name of the table's file.
        digits: To which each number is rounded; None: not at all.
        missing: What the challenge does about missing cases, in words.
        ending: Of all files.
        ignore: Label of the reference whose voxels do not count.
        reader: Name of nnU-Net's reader that reads all files; None: nnU-Net chooses it by a reference.
    """

    name: str
    structures: tuple[Structure, ...]
    columns: tuple[str, ...]
    spacing_of: Literal["prediction", "reference"]
    case_column: str = "case"
    table: str = "evaluation.csv"
    digits: int | None = None
    missing: str = ""
    ending: str = NIFTI
    ignore: int | None = None
    reader: str | None = None

    @property
    def measures(self) -> dict[str, Measure]:
        """All measures by column."""
        return {measure.column: measure for structure in self.structures for measure in structure.measures}

    @property
    def labels(self) -> tuple[int, ...]:
        """Labels that may occur."""
        return tuple(sorted({label for structure in self.structures for label in structure.labels}))

    def predictions(self, folder: Path) -> dict[str, Path]:
        """Return the file or folder of each predicted case.

        Raises:
            UserError: There is none.
        """
        return self._found(folder)

    def references(self, folder: Path) -> dict[str, Path]:
        """Return the file or folder of each case's references.

        Raises:
            UserError: There is none.
        """
        return self._found(folder)

    def example(self, reference: Path) -> Path:
        """Return a file of a reference, by which nnU-Net chooses its reader."""
        return reference

    def read_prediction(self, path: Path, reader: BaseReaderWriter) -> CaseMasks:
        """Read the prediction of a case.

        Raises:
            UserError: A file cannot be read, or holds unknown labels.
        """
        return LabelMap.read(path, reader, self.labels)

    def read_references(self, path: Path, reader: BaseReaderWriter) -> Iterator[CaseMasks]:
        """Read the references of a case, one after another; the metrics are averaged over them.

        Raises:
            UserError: A file cannot be read, or holds unknown labels.
        """
        yield LabelMap.read(path, reader, self.labels, self.ignore)

    def _found(self, folder: Path) -> dict[str, Path]:
        return some_cases(label_files(folder, self.ending), folder, f"label maps CASE{self.ending}")


def label_files(folder: Path, ending: str) -> dict[str, Path]:
    """Return the files of an ending by the name before it, without those that macOS puts beside others."""
    files = sorted(folder.glob(f"*{ending}"))
    return {file.name.removesuffix(ending): file for file in files if not file.name.startswith(DOUBLE)}


def some_cases(found: dict[str, Path], folder: Path, expected: str) -> dict[str, Path]:
    """Return what was found.

    Args:
        found: By case.
        folder: For the message.
        expected: For the message.

    Raises:
        UserError: It is nothing.
    """
    if not found:
        raise UserError(f"{folder}: expected {expected}, found none. Check the path.")
    return found


def columns_by_metric(structures: Sequence[Structure]) -> tuple[str, ...]:
    """Return all columns: the first metric of all structures, then the second, and so on."""
    most = max(len(structure.measures) for structure in structures)
    return tuple(each.measures[index].column for index in range(most) for each in structures)
