"""The label maps of several raters of a raw dataset: ``labelsTr_raters/<rater>/<case>``.

A rater is a person, or a program, that annotated some or all training cases. ``labelsTr`` stays what it is: one map for
each case, nnU-Net's reference. dataset.json may say ``"raters": "exchangeable"``: the folders then hold samples of the
annotators of each structure, and not persons.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunet_ext.data.case_check import SKIP
from nnunet_ext.data.dataset_check import check_cases
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.image_reader import find_reader, planned_reader
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError, more
from nnunet_ext.files.system_files import files_in

FOLDER = "labelsTr_raters"
KEY, EXCHANGEABLE = "raters", "exchangeable"
ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd", ".png", ".bmp", ".tif", ".tiff")  # of nnU-Net's readers
# becomes part of the name of a view's plans, in which nnU-Net splits at two underscores
LEGAL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]|_(?!_))*(?<!_)")


@dataclass(frozen=True)
class RatedCase(Case):
    """A case and what each rater drew.

    Args:
        maps: Label file by name of the rater, in their order; raters who left the case out are not in it.
    """

    maps: Mapping[str, Path] = field(default_factory=dict)


def has_raters(raw_folder: Path) -> bool:
    """Whether a raw dataset has label maps of several raters; they may be wrong."""
    return (raw_folder / FOLDER).is_dir()


def are_exchangeable(description: Mapping[str, Any]) -> bool:
    """Whether dataset.json says that the folders are samples, and not persons."""
    return description.get(KEY) == EXCHANGEABLE


def rater_maps(folder: Path, ending: str) -> dict[str, dict[str, Path]]:
    """Return each rater's label files, {rater: {case: file}}, in alphabetical order.

    Args:
        folder: ``labelsTr_raters``, or another folder with a folder for each rater.
        ending: File ending.

    Raises:
        UserError: There is no rater, one has no file, images with another ending, or a name that nnU-Net's folders
            cannot have.
    """
    raters = sorted(place for place in folder.iterdir() if not place.name.startswith(".")) if folder.is_dir() else []
    if not raters:
        raise UserError(
            f"{folder}: expected a folder for each rater with files named CASE{ending}, found none. Put their label "
            f"maps there."
        )
    found = {}
    for place in raters:
        if not place.is_dir():
            raise UserError(f"{place}: expected a rater's folder, found a file. Put it into the folder of its rater.")
        if LEGAL.fullmatch(place.name) is None:
            raise UserError(
                f"{place}: expected a rater's name of letters, digits, '-', '.' and single '_' between them, found "
                f"{place.name!r}. Rename the folder."
            )
        if other := [
            file for file in files_in(place) if file.name.endswith(ENDINGS) and not file.name.endswith(ending)
        ]:
            raise UserError(
                f"{other[0]}: expected label maps of rater {place.name!r} named CASE{ending}, found another kind of "
                f"image{more(len(other) - 1)}. Convert or remove it."
            )
        maps = {file.name.removesuffix(ending): file for file in files_in(place) if file.name.endswith(ending)}
        if not maps:
            raise UserError(
                f"{place}: expected label maps of rater {place.name!r} named CASE{ending}, found none. Add them, or "
                f"remove the folder."
            )
        found[place.name] = dict(sorted(maps.items()))
    return found


def find_raters(raw_folder: Path) -> list[RatedCase]:
    """Return the training cases, each with the maps of its raters; no file is read.

    Raises:
        UserError: There is no rater, one has no map, or annotated a case that is not one of the dataset.
    """
    dataset = RawDataset.read(raw_folder)
    maps = rater_maps(raw_folder / FOLDER, dataset.file_ending)
    cases = dataset.cases()
    known = {case.name for case in cases}
    for theirs in maps.values():
        if unknown := [name for name in theirs if name not in known]:
            raise UserError(
                f"{theirs[unknown[0]]}: expected the map of a training case, found one of {unknown[0]!r}, of which "
                f"{dataset.folder.name} has no image. Rename or remove it{more(len(unknown) - 1)}."
            )
    drawn = {name: {rater: theirs[name] for rater, theirs in maps.items() if name in theirs} for name in known}
    return [RatedCase(case.name, case.images, case.label, drawn[case.name]) for case in cases]


def names_of(cases: Collection[RatedCase]) -> list[str]:
    """Return the raters of some cases, in alphabetical order."""
    return sorted({rater for case in cases for rater in case.maps})


def check_raters(
    raw_folder: Path,
    cases: Sequence[RatedCase],
    plans: Mapping[str, Any] | None = None,
    *,
    show_progress: bool = True,
) -> None:
    """Read what raters drew in some cases and refuse what is wrong with it.

    Args:
        raw_folder: The dataset's folder in nnUNet_raw.
        cases: Some of its cases.
        plans: The plans with which they will be preprocessed; None before there are any.
        show_progress: Show a progress bar.

    Raises:
        UserError: The first map that is unreadable, on another grid than its image, or with labels that dataset.json
            does not declare.
    """
    maps = [Case(case.name, case.images, file) for case in cases for file in case.maps.values()]
    if maps:
        dataset = RawDataset.read(raw_folder)
        reader = planned_reader(plans) if plans else find_reader(dataset.description, maps[0].images[0])
        try:
            check_cases(maps, dataset, reader, legal=dataset.legal_labels(), show_progress=show_progress)
        except UserError as error:  # no command about raters has --no_check
            raise UserError(str(error).replace(SKIP, "")) from error
