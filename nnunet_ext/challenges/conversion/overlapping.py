"""Any folders of binary masks that overlap: a label for each combination of structures that occurs."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nnunet_ext.challenges.conversion.challenge_record import MOST, ChallengeRecord
from nnunet_ext.challenges.conversion.conversion import ENDING, Conversion, SourceCase
from nnunet_ext.challenges.conversion.merged_label import MergedLabel
from nnunet_ext.challenges.conversion.partition import JOINED, Combination, Partition
from nnunet_ext.challenges.conversion.source_tree import SourceTree
from nnunet_ext.data.dataset_json import BACKGROUND, IGNORE
from nnunet_ext.errors import UserError
from nnunet_ext.files.system_files import files_in

NAME = "overlapping"
MASKS = "segmentations"  # of TotalSegmentator's datasets; else the masks are beside the image


def read_overlapping(
    source: Path,
    images: Sequence[str] = ("image.nii.gz",),
    channel_names: Sequence[str] = (),
    *,
    min_voxels: int = 1,
    absent_is_empty: bool = False,
) -> Conversion:
    """Find cases in folders ``CASE/image.nii.gz`` with one mask for each structure, ``CASE/STRUCTURE.nii.gz``.

    Masks may also be in ``CASE/segmentations``. Which labels there are is known when all masks have been read:
    :func:`with_labels`.

    Args:
        source: The folder of the cases.
        images: Name of each channel's file.
        channel_names: Names for dataset.json; nnU-Net normalizes a channel named CT by the dataset's intensities. By
            default the names of the files.
        min_voxels: Combinations with fewer voxels in all cases get no label of their own.
        absent_is_empty: A structure without a file has no voxel in this case; otherwise the file is missing.

    Raises:
        UserError: There are no cases, files are missing, or a structure cannot be a label.
    """
    tree = SourceTree.find(source, ("",), ".+", "a folder for each case")
    folders = [path for path in tree.cases(r"[^.].*") if path.is_dir()]
    masks = {folder: _masks(folder, images) for folder in folders}
    structures = sorted({name for found in masks.values() for name in found})
    _check(source, structures, images, channel_names)
    cases = []
    for folder, found in masks.items():
        files = tuple(tree.need(folder / name) for name in images)
        for name in structures:
            if name not in found and not absent_is_empty:
                tree.note(folder / f"{name}{ENDING}", "--absent_is_empty if there is no such structure in this case")
        cases.append(SourceCase(folder.name, files, MergedLabel(files[0], found, Partition((), tuple(structures)))))
    tree.check()
    names = tuple(channel_names) or tuple(name.removesuffix(ENDING) for name in images)
    return Conversion(
        record=ChallengeRecord(NAME, dict.fromkeys(structures, ()), {}, names),
        dataset=re.sub(r"[^A-Za-z0-9]+", "_", source.resolve().name).strip("_") or "Overlapping",
        channel_names=names,
        labels={},
        cases=tuple(cases),
        options={"images": list(images), "channel_names": list(names), "min_voxels": min_voxels},
        merged_below=min_voxels,
    )


def with_labels(conversion: Conversion, counts: Iterable[Mapping[Combination, int]]) -> Conversion:
    """Return a conversion whose labels are the combinations that occur often enough.

    Labels are numbered by the place of their structures in the alphabet. Of structures that a rare combination loses,
    the smaller ones are kept first.

    Args:
        conversion: By :func:`read_overlapping`.
        counts: Voxels of each combination in each case.

    Raises:
        UserError: A structure has no voxel, or is in no combination that occurs often enough; or there are too many.
    """
    total: Counter[Combination] = Counter()
    for each in counts:
        total.update(each)
    structures = list(conversion.record.structures)
    sizes = {name: sum(n for combination, n in total.items() if name in combination) for name in structures}
    fewest = conversion.merged_below or 1
    kept = sorted((each for each, number in total.items() if number >= fewest), key=sorted)
    gone = [name for name in structures if not any(name in each for each in kept)]
    if gone or len(kept) > MOST:
        raise UserError(
            f"{conversion.dataset}: expected every structure in a combination of at least {fewest} voxels and at most "
            f"{MOST} combinations, found {', '.join(gone) or len(kept)}. Remove its files, or choose another "
            f"--min_voxels."
        )
    partition = Partition(tuple(kept), tuple(sorted(structures, key=lambda name: (sizes[name], name))))
    cases = []
    for case in conversion.cases:
        assert isinstance(case.label, MergedLabel)
        cases.append(dataclasses.replace(case, label=dataclasses.replace(case.label, partition=partition)))
    return dataclasses.replace(
        conversion,
        record=dataclasses.replace(conversion.record, structures=partition.labels_of(structures)),
        labels={name: label for label, name in enumerate(partition.names, start=1)},
        cases=tuple(cases),
    )


def _masks(folder: Path, images: Sequence[str]) -> dict[str, Path]:
    place = folder / MASKS if (folder / MASKS).is_dir() else folder
    files = [file for file in files_in(place) if file.name.endswith(ENDING) and not file.name.startswith(".")]
    return {file.name.removesuffix(ENDING): file for file in files if place != folder or file.name not in images}


def _check(source: Path, structures: Sequence[str], images: Sequence[str], channel_names: Sequence[str]) -> None:
    wrong = [name for name in structures if name.lower() in (BACKGROUND, IGNORE) or JOINED in name]
    if not structures or wrong:
        raise UserError(
            f"{source}: expected folders of cases with one mask for each structure, named without {JOINED!r} and not "
            f"{BACKGROUND} or {IGNORE}, found {', '.join(wrong) or 'no mask'}. "
            f"{'Rename them' if wrong else f'Put STRUCTURE{ENDING} beside the image'}."
        )
    if channel_names and len(channel_names) != len(images):
        raise UserError(
            f"--channel_names: expected one for each of {len(images)} images ({', '.join(images)}), got "
            f"{len(channel_names)}. Correct it."
        )
    other = [name for name in images if not name.endswith(ENDING)]
    if other:
        raise UserError(f"--images {other[0]}: expected names that end in {ENDING}. Convert the images first.")
