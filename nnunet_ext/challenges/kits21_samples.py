"""The label maps that KiTS21 compares with: samples of what the annotators drew of each kidney, tumor and cyst."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.challenges.case_masks import CaseMasks, LabelMap, check_grid, read_labels
from nnunet_ext.challenges.cropped_mask import CroppedMask
from nnunet_ext.errors import UserError
from nnunet_ext.quality.grid import Grid

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

CASE = re.compile(r"case_(\d{5})")
FOLDERS = ("segmentations", "instances")  # of KiTS21, of KiTS23
# whole names only: there are others, such as .suppl.tumor_instance-1_annotation-1.nii.gz
INSTANCE = re.compile(r"(kidney|tumor|cyst)_instance-(\d+)_annotation-(\d+)\.nii\.gz")
DRAWN = ("kidney", "tumor", "cyst")  # order in which offsets are drawn
PAINTED = {"kidney": 1, "cyst": 3, "tumor": 2}  # order in which they are painted; later ones overwrite earlier ones
GROUPS = 5


@dataclass(frozen=True)
class Instance:
    """One kidney, tumor or cyst.

    Args:
        kind: ``kidney``, ``tumor`` or ``cyst``.
        number: Of the instance.
        files: One for each annotation, by its number.
    """

    kind: str
    number: int
    files: tuple[Path, ...]


def instances_folder(case: Path) -> Path | None:
    """Return the folder with the instances of a case, None if there is none."""
    return next((case / name for name in FOLDERS if (case / name).is_dir()), None)


def annotations_of(case: Path) -> list[Instance]:
    """Return all instances of a case in the order in which offsets are drawn.

    Args:
        case: Folder ``case_00000``.

    Raises:
        UserError: There is none.
    """
    folder = instances_folder(case) or case / FOLDERS[0]
    found: dict[tuple[int, int], dict[int, Path]] = {}
    for file in sorted(folder.glob("*.nii.gz")):
        if match := INSTANCE.fullmatch(file.name):
            key = (DRAWN.index(match[1]), int(match[2]))
            found.setdefault(key, {})[int(match[3])] = file
    if not found:
        raise UserError(
            f"{folder}: expected files such as kidney_instance-1_annotation-1.nii.gz, found none. Add them."
        )
    return [
        Instance(DRAWN[kind], number, tuple(files[each] for each in sorted(files)))
        for (kind, number), files in sorted(found.items())
    ]


def sampled_annotations(case_number: int, annotations: Sequence[int]) -> list[tuple[int, ...]]:
    """Return, for each sample of each group, the annotation of each instance, counted from 0.

    KiTS21's rule: the case number seeds the generator; each group draws an offset for each instance, and its samples
    take the annotations from there on, around the end; no annotation comes twice in a group.

    Args:
        case_number: 0 of ``case_00000``.
        annotations: The number of annotations of each instance, kidneys first, then tumors, then cysts.

    Example:
        >>> sampled_annotations(0, [3, 3])[:3]
        [(0, 1), (1, 2), (2, 0)]
    """
    random = np.random.RandomState(case_number)
    found = []
    for _ in range(GROUPS):
        offsets = [int(random.randint(0, number)) for number in annotations]
        found += [
            tuple((offset + sample) % number for offset, number in zip(offsets, annotations, strict=True))
            for sample in range(min(annotations))
        ]
    return found


def sampled_label_maps(case: Path, reader: BaseReaderWriter) -> Iterator[CaseMasks]:
    """Paint the samples of a case, one after another.

    Args:
        case: Folder ``case_00000``.
        reader: Of nnU-Net.

    Yields:
        A label map for each sample of each group, usually 15.

    Raises:
        UserError: A file cannot be read, or the grids differ.
    """
    instances = annotations_of(case)
    match = CASE.fullmatch(case.name)
    if match is None:
        raise UserError(f"{case}: expected a folder named case_00000, found {case.name!r}. Rename it.")
    drawings: list[list[CroppedMask]] = []
    first, grid = instances[0].files[0], None
    for instance in instances:
        drawings.append([])
        for file in instance.files:
            labels, own = read_labels(file, reader)
            grid = grid or own
            check_grid(own, file, grid, first)
            drawings[-1].append(CroppedMask.of(labels != 0))
    assert grid is not None
    for chosen in sampled_annotations(int(match[1]), [len(each) for each in drawings]):
        picked = [(each.kind, drawn[pick]) for each, drawn, pick in zip(instances, drawings, chosen, strict=True)]
        yield LabelMap(_painted(picked, grid), grid)


def _painted(picked: Sequence[tuple[str, CroppedMask]], grid: Grid) -> NDArray[np.uint8]:
    labels = np.zeros(grid.shape, np.uint8)
    for kind, value in PAINTED.items():
        for other, drawing in picked:
            if other == kind and drawing.box is not None:
                labels[drawing.box][drawing.voxels] = value
    return labels
