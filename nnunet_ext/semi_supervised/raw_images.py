"""The unlabelled images of a raw dataset: those in ``imagesUn/``, or those that dataset.json lists.

``imagesUn/`` holds files named as in ``imagesTr``. dataset.json may instead say where they are, relative to the
dataset's folder, as nnU-Net's own key ``dataset`` does for labelled cases::

    "unlabelled": {"case_7": {"images": ["../Dataset003_Liver/imagesTr/case_7_0000.nii.gz"]}}
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nnunet_ext.data.case_names import check_case_names
from nnunet_ext.data.dataset_check import check_cases
from nnunet_ext.data.dataset_json import UNLABELLED as KEY
from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.image_reader import find_reader, planned_reader
from nnunet_ext.data.raw_dataset import RawDataset, list_images
from nnunet_ext.data.same_images import images_of, raw_folder, same_images
from nnunet_ext.errors import UserError, more
from nnunet_ext.files.json_file import read_json
from nnunet_ext.files.system_files import files_in

FOLDER = "imagesUn"


def has_unlabelled(raw_folder: Path, *, empty_folder: bool = True) -> bool:
    """Whether a raw dataset says that it has unlabelled images; they may be wrong.

    Args:
        raw_folder: The dataset's folder in nnUNet_raw.
        empty_folder: Whether an empty ``imagesUn`` says so, too.
    """
    images_un = raw_folder / FOLDER
    if images_un.is_dir() and (empty_folder or files_in(images_un)):
        return True
    file = raw_folder / "dataset.json"
    description = read_json(file) if file.is_file() else None
    return isinstance(description, dict) and KEY in description


def unlabelled_names(raw_folder: Path) -> set[str]:
    """Return the names of the unlabelled cases, whose files may be wrong or elsewhere; empty if there is none.

    Raises:
        UserError: dataset.json is missing or broken.
    """
    if not has_unlabelled(raw_folder):
        return set()
    dataset = RawDataset.read(raw_folder)
    listed = dataset.description.get(KEY)
    ending = f"_0000{dataset.file_ending}"
    images = [file.name for file in files_in(raw_folder / FOLDER) if file.name.endswith(ending)]
    return set(listed) if isinstance(listed, dict) else {name.removesuffix(ending) for name in images}


def find_unlabelled(raw_folder: Path) -> list[Case]:
    """Return the unlabelled cases by name; no image is read.

    Raises:
        UserError: There is none, one is labelled too, or has the wrong number of channels.
    """
    dataset = RawDataset.read(raw_folder)
    images_un = raw_folder / FOLDER
    if images_un.is_dir() and KEY in dataset.description:
        raise UserError(
            f"{dataset.file}: expected unlabelled images either in {FOLDER} or under {KEY!r}, found both. Remove one."
        )
    if KEY in dataset.description:
        cases = _listed(dataset)
    elif images_un.is_dir():
        cases = list_images(images_un, dataset.file_ending, len(dataset.channel_names))
    else:
        raise UserError(
            f"{images_un}: expected unlabelled images named CASE_0000{dataset.file_ending}, found no folder. Put them "
            f"there, or list them in dataset.json under {KEY!r}."
        )
    check_case_names(cases)
    _check_not_labelled(cases, dataset)
    return cases


def check_images_un(
    raw_folder: Path, cases: list[Case], plans: Mapping[str, Any] | None = None, *, show_progress: bool = True
) -> None:
    """Read unlabelled cases and refuse what is wrong with them.

    Args:
        raw_folder: The dataset's folder in nnUNet_raw.
        cases: Some of its unlabelled cases.
        plans: The plans with which they will be preprocessed; None before there are any.
        show_progress: Show a progress bar.

    Raises:
        UserError: The first image that is unreadable, empty or of another number of channels.
    """
    if cases:
        dataset = RawDataset.read(raw_folder)
        first = (cases if dataset.has_images_alone else dataset.cases())[0]
        reader = planned_reader(plans) if plans else find_reader(dataset.description, first.images[0])
        check_cases(cases, dataset, reader, filled=True, show_progress=show_progress)


def check_unlabelled_apart(
    dataset: str, description: Mapping[str, Any], cases: Collection[str], val: Collection[str]
) -> None:
    """Refuse unlabelled cases that are validated on, under any name.

    Args:
        dataset: ``Dataset003_Liver``.
        description: Its dataset.json in nnUNet_preprocessed.
        cases: The unlabelled cases of a training.
        val: Its validation cases.

    Raises:
        UserError: There is one.
    """
    both = same_images(
        unlabelled_images(dataset, description, cases),
        images_of(raw_folder(), dataset, description, val),
        copies=True,
    )
    if both:
        unlabelled, validated = both[0]
        raise UserError(
            f"{dataset}: expected no validation case among the unlabelled images, found {validated}, which is trained "
            f"on as {unlabelled}{more(len(both) - 1)}. Remove it from {FOLDER} (or from {KEY!r} in dataset.json) and "
            f"run nnunet_ext preprocess_unlabelled -d {dataset_number(dataset)} again."
        )


def unlabelled_images(dataset: str, description: Mapping[str, Any], cases: Collection[str]) -> dict[str, list[Path]]:
    """Return the image files of unlabelled cases, as :func:`images_of` does; the raw dataset.json wins, if it is there.

    Args:
        dataset: ``Dataset003_Liver``.
        description: Its dataset.json in nnUNet_preprocessed.
        cases: Names of the cases.
    """
    file = raw_folder() / dataset / "dataset.json"
    return images_of(raw_folder(), dataset, read_json(file) if file.is_file() else description, cases, key=KEY)


def _listed(dataset: RawDataset) -> list[Case]:
    listed = dataset.description[KEY]
    if not isinstance(listed, dict) or not listed:
        raise UserError(
            f'{dataset.file}: expected {KEY!r} to be {{"CASE": {{"images": [...]}}, ...}} with at least one case, got '
            f"{listed!r}. List them, or remove the key and use {FOLDER}."
        )
    return [Case(name, _images(name, entry, dataset)) for name, entry in sorted(listed.items())]


def _images(name: str, entry: Any, dataset: RawDataset) -> tuple[Path, ...]:
    place = f"{dataset.file}: {KEY!r}, case {name!r}"
    images = entry.get("images") if isinstance(entry, dict) else None
    if not isinstance(images, list) or not images or not all(isinstance(image, str) for image in images):
        raise UserError(f'{place}: expected {{"images": ["PATH", ...]}}, got {entry!r}. Correct it.')
    channels = len(dataset.channel_names)
    if len(images) not in (1, channels):  # a single file may hold several channels (RGB): read later
        raise UserError(
            f"{place}: expected {channels} channel{'s' * (channels > 1)} as in dataset.json, found {len(images)} "
            f"images. List one for each."
        )
    found = tuple(Path(os.path.abspath(dataset.folder / os.path.expandvars(image))) for image in images)
    missing = next((file for file in found if not file.is_file()), None)
    if missing is not None:
        raise UserError(f"{place}: expected image {missing}, found no file. Add it or remove the case.")
    return found


def _check_not_labelled(cases: list[Case], dataset: RawDataset) -> None:
    """Refuse cases that are labelled too, under the same name or another."""
    labelled = {} if dataset.has_images_alone else {case.name: case.images for case in dataset.cases()}
    both = {case.name: case.name for case in cases if case.name in labelled}
    images = {case.name: case.images for case in cases}
    both |= {name: other for other, name in same_images(labelled, images, copies=True)}
    if both:
        name, other = next(iter(both.items()))
        alias = "" if name == other else f" as {other!r}"
        raise UserError(
            f"{dataset.folder}: expected case {name!r} to be labelled or unlabelled, found it both{alias}. Remove it "
            f"from one.{more(len(both) - 1)}"
        )
