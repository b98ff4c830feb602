"""A copy of a labelled dataset in which most labels are hidden, to measure what unlabelled images are worth.

The copy is a dataset.json that refers to the source's files, so no image is copied. It has nnU-Net's key ``dataset``
(the labelled cases), ``unlabelled`` (:mod:`nnunet_ext.semi_supervised.raw_images`) and two keys that no loader reads::

    "hidden_labels": {"case_7": "../Dataset020_LeftAtrium/labelsTr/case_7.nii.gz"}
    "test": {"case_9": {"images": ["../..."], "label": "../..."}}
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_ext.data.dataset_json import (
    ANNOTATED,
    HIDDEN,
    PART,
    TEST,
    not_annotated,
    part_record,
    scored_names,
    with_numbers,
)
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import is_partial, read_json, write_json
from nnunet_ext.files.link import reference
from nnunet_ext.files.system_files import files_in
from nnunet_ext.semi_supervised.hidden_slices import KEY as KEPT
from nnunet_ext.semi_supervised.hidden_slices import KeptSlices, with_ignore_label, write_kept_slices
from nnunet_ext.semi_supervised.raw_images import KEY, find_unlabelled, has_unlabelled

SOURCE = "labels_hidden_from"
# what the source says about its own list of cases; all other keys are copied
OF_THE_CASES = ("dataset", "numTraining", "training", "numTest", TEST, KEY, HIDDEN, SOURCE, ANNOTATED, KEPT)


def choose_labelled(cases: Collection[str], keep: int, seed: int) -> tuple[str, ...]:
    """Choose cases at random; with the same seed a smaller choice is part of a larger one.

    Raises:
        UserError: There are not that many.
    """
    if not 1 <= keep <= len(cases):
        raise UserError(f"--keep {keep}: expected a number from 1 to {len(cases)}, got {keep}. Correct it.")
    names = sorted(cases)
    return tuple(names[index] for index in np.random.default_rng(seed).permutation(len(names))[:keep])


def hide_labels(
    source: RawDataset,
    place: Path,
    labelled: Collection[str],
    test: Collection[str] = (),
    slices: KeptSlices | None = None,
) -> dict[str, int]:
    """Write a copy in which only some cases are labelled; the same call again changes nothing.

    With cases for testing all others may stay labelled: the upper bound of an experiment, tested on the same cases.
    With ``slices``, labelled cases have label files of their own, in which the other slices are ignored.

    Args:
        source: The labelled dataset.
        place: The copy's folder in nnUNet_raw.
        labelled: Its cases that stay labelled.
        test: Its cases that are to be neither trained on nor seen unlabelled.
        slices: Those that stay labelled in the labelled cases; None: all.

    Returns:
        How many cases are labelled, unlabelled and for testing.

    Raises:
        UserError: Cases are wanted for two purposes, none is hidden or set apart, files are missing, or the folder
            holds something else.
    """
    content = _description(source, place.parent, labelled, test, slices)
    file = place / "dataset.json"
    there = [path.name for path in files_in(place) if not is_partial(path.name)]
    before = read_json(file) if file.is_file() else None
    if there and not _has_these_cases(before, content, file):
        found, remedy = f"another dataset ({there[0]})", ""
        if _is_copy(before):
            found, remedy = "a copy with others", ", or delete the folder"
        raise UserError(
            f"{place}: expected no folder, or a copy with these cases, found {found}. Choose another number after -o"
            f"{remedy}."
        )
    if before != content:  # or earlier versions wrote it, which left keys out
        _remove_partial(place)
        place.mkdir(exist_ok=True)
        write_json(file, content)
    if slices is not None:
        write_kept_slices(source, place, labelled, slices)
    return {
        "labelled": len(content["dataset"]),
        "unlabelled": len(content.get(KEY, ())),
        "test": len(content.get(TEST, ())),
    }


def _remove_partial(place: Path) -> None:
    """Remove what a killed call left."""
    for file in place.glob("*.partial"):
        file.unlink()


def scored_cases(raw_folder: Path, key: str) -> list[Case]:
    """Return cases with labels that nothing trains on.

    Args:
        raw_folder: The copy's folder in nnUNet_raw.
        key: ``"hidden_labels"`` for the unlabelled cases, ``"test"`` for those set apart.

    Raises:
        UserError: It is not a copy with such cases.
    """
    description = RawDataset.read(raw_folder).description
    if not scored_names(description, key):
        raise UserError(
            f"{raw_folder / 'dataset.json'}: expected cases under {key!r}, found none. Make the dataset with "
            f"nnunet_ext hide_labels{' --test FILE' if key == TEST else ''}."
        )
    if key == TEST:
        entries = description[TEST]
    else:
        entries = {name: description[KEY][name] | {"label": label} for name, label in description[HIDDEN].items()}

    for name in entries:
        if missing := not_annotated(description, name):
            raise UserError(
                f"{raw_folder / 'dataset.json'}: expected cases to score in which every class is annotated, found "
                f"{name!r} without {', '.join(missing)} ('annotated'). Hide the labels of others, or give test images."
            )

    def path(text: str) -> Path:
        return Path(os.path.abspath(raw_folder / text))

    return [Case(name, tuple(map(path, entry["images"])), path(entry["label"])) for name, entry in entries.items()]


def _is_copy(description: Any) -> bool:
    return isinstance(description, dict) and SOURCE in description


def _has_these_cases(before: Any, content: dict[str, Any], file: Path) -> bool:
    """Whether a dataset.json is a copy with the same cases for the same purposes."""
    if not _is_copy(before):
        return False
    keys = (SOURCE, "dataset", KEY, HIDDEN, TEST, KEPT, "labels", "file_ending")
    before = with_numbers(before, file) if isinstance(before.get("labels"), dict) else before
    return all(before.get(key) == content.get(key) for key in keys)


def _description(
    source: RawDataset, raw: Path, labelled: Collection[str], test: Collection[str], slices: KeptSlices | None
) -> dict[str, Any]:
    """The copy's dataset.json."""
    cases = source.cases()
    _check_purposes(source, cases, labelled, test, all_may_stay=slices is not None)
    hidden = [case for case in cases if case.name not in labelled and case.name not in test]
    unlabelled = hidden + (find_unlabelled(source.folder) if has_unlabelled(source.folder) else [])
    foreign = OF_THE_CASES if part_record(source.description) is None else (*OF_THE_CASES, PART)
    found = {key: value for key, value in source.description.items() if key not in foreign}
    found |= {"numTraining": len(labelled), SOURCE: source.folder.name}
    found["dataset"] = {case.name: _entry(case, raw) for case in cases if case.name in labelled}
    if slices is not None:
        found |= {"labels": with_ignore_label(source), KEPT: slices._asdict()}
        for name, entry in found["dataset"].items():
            entry["label"] = f"labelsTr/{name}{source.file_ending}"
    if unlabelled:
        found[KEY] = {case.name: {"images": _entry(case, raw)["images"]} for case in unlabelled}
        found[HIDDEN] = {case.name: _entry(case, raw)["label"] for case in hidden}
    annotated = source.description.get(ANNOTATED)
    if isinstance(annotated, dict):
        names = {case.name for case in cases}
        found[ANNOTATED] = {name: classes for name, classes in annotated.items() if name in names}
    if test:
        found[TEST] = {case.name: _entry(case, raw) for case in cases if case.name in test}
    return found


def _entry(case: Case, raw: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"images": [reference(image, raw) for image in case.images]}
    return entry if case.label is None else entry | {"label": reference(case.label, raw)}


def _check_purposes(
    source: RawDataset,
    cases: Sequence[Case],
    labelled: Collection[str],
    test: Collection[str],
    *,
    all_may_stay: bool,
) -> None:
    both = sorted(set(labelled) & set(test))
    if both:
        raise UserError(
            f"{source.folder.name}: expected a case to be labelled or for testing, found {both[0]!r} named for both. "
            f"Remove it from --labelled or --test."
        )
    if not labelled or (len(labelled) == len(cases) and not test and not all_may_stay):
        raise UserError(
            f"{source.folder.name}: expected at least one of {len(cases)} cases to stay labelled and one to be hidden "
            f"or set apart (--test), got {len(labelled)} labelled and {len(test)} for testing. Name others."
        )
    for case in cases:
        for file in (*case.images, *([case.label] if case.label else [])):
            if not file.is_file():
                raise UserError(
                    f"{file}: expected a file of case {case.name!r}, found none. Add it or remove the case."
                )
