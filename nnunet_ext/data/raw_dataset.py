"""A raw nnU-Net dataset as its folder describes it: dataset.json, and which files make which training case."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.data.case_names import check_case_names
from nnunet_ext.data.dataset_json import BACKGROUND, UNLABELLED, is_collection, with_numbers
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.same_images import FOLDERS
from nnunet_ext.errors import UserError, more, one_line
from nnunet_ext.files.json_file import read_json
from nnunet_ext.files.system_files import DOUBLE, files_in


@dataclass(frozen=True)
class RawDataset:
    """A dataset's folder in nnUNet_raw and what its dataset.json says; no image is read.

    Args:
        folder: The dataset's folder.
        description: The content of its dataset.json.
    """

    folder: Path
    description: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> RawDataset:
        """Read a dataset's description.

        Raises:
            UserError: dataset.json is missing, broken, or lacks a key that nnU-Net needs.
        """
        return cls(folder, _read_description(folder / "dataset.json"))

    @property
    def file(self) -> Path:
        """dataset.json."""
        return self.folder / "dataset.json"

    @property
    def channel_names(self) -> dict[str, str]:
        """Channel number, as text, and name."""
        return self.description["channel_names" if "channel_names" in self.description else "modality"]

    @property
    def file_ending(self) -> str:
        """Ending of images and labels."""
        return self.description["file_ending"]

    @property
    def has_images_alone(self) -> bool:
        """Whether all its images are unlabelled: no training case is there, listed or counted in numTraining."""
        return _has_images_alone(self.folder, self.description)

    def check_channel_names(self) -> None:
        """Refuse names from which nnU-Net would plan the wrong normalization: it takes them in the file's order.

        Raises:
            UserError: They are written the other way round, in another order, or are not text.
        """
        names = self.channel_names
        numbered = all(re.fullmatch(r"\d+", str(number)) for number in names)
        if not numbered and all(re.fullmatch(r"\d+", str(name)) for name in names.values()):
            swapped = ", ".join(f'"{number}": "{name}"' for name, number in names.items())
            raise UserError(
                f"{self.file}: expected channel_names as number: name, got {names!r}, the other way round. Write "
                f"{{{swapped}}}."
            )
        wrong = [name for name in names.values() if not isinstance(name, str)]
        if wrong:
            raise UserError(f"{self.file}: expected the name of a channel to be text, got {wrong[0]!r}. Write it.")
        if numbered and list(names) != sorted(names, key=int):
            raise UserError(
                f"{self.file}: expected channel_names in ascending order, as nnU-Net takes them in the order of the "
                f"file, got {', '.join(names)}. Sort them."
            )

    def legal_labels(self) -> tuple[int, ...]:
        """Return the values that a label file may hold, ignore included.

        Raises:
            UserError: nnU-Net does not accept the labels of dataset.json.
        """
        return _legal_labels(self.description, self.file)

    def cases(self) -> list[Case]:
        """Return the training cases by name; whether the files exist is checked elsewhere.

        Raises:
            UserError: There is none, a file's name says neither case nor channel, or nnU-Net cannot use a case's name.
        """
        if self.has_images_alone:
            raise UserError(
                f"{self.folder}: expected labelled cases in imagesTr and labelsTr, found unlabelled images alone, on "
                f"which only MaskedAutoencoderTrainer trains. Add labelled cases, or take another dataset."
            )
        if "dataset" in self.description:
            cases = _listed_cases(self.folder, self.description)
        else:
            images = list_images(self.folder / "imagesTr", self.file_ending, len(self.channel_names))
            labels = self.folder / "labelsTr"
            cases = [Case(case.name, case.images, labels / f"{case.name}{self.file_ending}") for case in images]
        check_case_names(cases)
        return cases


def list_images(folder: Path, ending: str, channels: int, missing: Collection[int] = ()) -> list[Case]:
    """Return the cases of a folder whose files are named CASE_0000.ending; they have no labels.

    Args:
        folder: The folder.
        ending: File ending.
        channels: Channels of an image.
        missing: Numbers of channels that images need not have; their files are left out.

    Raises:
        UserError: There is none, or a file's name says neither case nor channel.
    """
    present = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    files = [name for name in present if name.endswith(ending)]
    if doubles := [name for name in files if name.startswith(DOUBLE)]:
        raise UserError(
            f"{folder / doubles[0]}: expected images, found a file in which macOS keeps the attributes of another; "
            f"nnU-Net would read it as a case. Delete such files: find {folder} -name '._*' -delete"
        )
    if not files:
        found = f"{len(present)} other files, such as {present[0]}" if present else "none"
        raise UserError(
            f"{folder}: expected images named CASE_0000{ending}, found {found}. Put them there, or convert "
            f"them: {ending} is the 'file_ending' of dataset.json."
        )
    pattern = re.compile(rf"(.+)_(\d{{4}}){re.escape(ending)}")
    matches = {name: pattern.fullmatch(name) for name in files}
    wrong = [name for name, match in matches.items() if match is None]
    if wrong:
        raise UserError(
            f"{folder / wrong[0]}: expected a name like CASE_0000{ending} (four digits number the channel), got "
            f"{wrong[0]!r}. Rename it.{more(len(wrong) - 1, 'file')}"
        )
    numbers: dict[str, list[int]] = {match[1]: [] for match in filter(None, matches.values())}
    for match in filter(None, matches.values()):
        if int(match[2]) not in missing:
            numbers[match[1]].append(int(match[2]))
    _check_channel_numbers(numbers, folder, ending, channels, missing)
    return [
        Case(case, tuple(folder / f"{case}_{number:04d}{ending}" for number in sorted(found)))
        for case, found in sorted(numbers.items())
    ]


def _read_description(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise UserError(
            f"{file}: expected a description of the dataset, found no file. Write one (nnU-Net's "
            f"documentation, dataset_format.md)."
        )
    description = read_json(file)
    if not isinstance(description, dict):
        raise UserError(f'{file}: expected an object, got {type(description).__name__}. Write {{"labels": ...}}.')
    if is_collection(description):
        raise UserError(
            f"{file}: expected an ordinary dataset, found the collection {file.parent.name!r}. Name one of its members."
        )
    if _has_images_alone(file.parent, description):
        description = {"labels": {BACKGROUND: 0}, "numTraining": 0} | description
    missing = [key for key in ("labels", "numTraining", "file_ending") if key not in description]
    if not {"channel_names", "modality"} & set(description):
        missing.insert(0, "channel_names")
    if missing:
        raise UserError(
            f"{file}: expected the keys channel_names, labels, numTraining and file_ending, found no "
            f"{', '.join(missing)}. Add {'it' if len(missing) == 1 else 'them'}."
        )
    _check_types(description, file)
    return with_numbers(description, file)


def _has_images_alone(folder: Path, description: Mapping[str, Any]) -> bool:
    """Whether there are unlabelled images, and nothing says that there are, or were, labelled ones."""
    if UNLABELLED not in description and not (folder / FOLDERS[UNLABELLED]).is_dir():
        return False
    listed = description.get("numTraining") or description.get("dataset")
    return not listed and not any(files_in(folder / part) for part in ("imagesTr", "labelsTr"))


def _check_types(description: dict[str, Any], file: Path) -> None:
    channels = "channel_names" if "channel_names" in description else "modality"
    for key in (channels, "labels"):
        if not isinstance(description[key], dict) or not description[key]:
            raise UserError(
                f"{file}: expected {key!r} to be an object with an entry for each, got "
                f"{description[key]!r}. Write it as nnU-Net's documentation, dataset_format.md, says."
            )
    ending = description["file_ending"]
    if not isinstance(ending, str) or not ending.startswith("."):
        raise UserError(f"{file}: expected 'file_ending' to start with a dot, got {ending!r}. Write \".nii.gz\".")
    if all(str(name).isdecimal() for name in description["labels"]):
        raise UserError(
            f"{file}: expected labels as name: number, got {description['labels']!r}, the form of nnU-Net "
            f"v1. Convert the dataset with nnUNetv2_convert_old_nnUNet_dataset."
        )


def _legal_labels(description: dict[str, Any], file: Path) -> tuple[int, ...]:
    """The values that a label file may hold, ignore included."""
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    labels = description["labels"]
    try:
        manager = LabelManager(labels, regions_class_order=description.get("regions_class_order"))
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        reason = one_line(error, last=True)
        if "ignore" in reason.lower():
            reason = "'ignore' must be one integer, the highest label and next to the second highest"
        raise UserError(
            f"{file}: expected labels that nnU-Net accepts, got {labels!r}: {reason}. Correct them."
        ) from error
    legal = [int(label) for label in manager.all_labels]
    if manager.has_ignore_label:
        legal.append(manager.ignore_label)
    if legal != list(range(len(legal))):
        raise UserError(
            f"{file}: expected labels 0, 1, 2, ... without a gap, got {legal}. Renumber them in "
            f"dataset.json and in the label files."
        )
    return tuple(legal)


def _listed_cases(folder: Path, description: dict[str, Any]) -> list[Case]:
    """The cases that the key ``dataset`` of dataset.json lists."""
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    try:
        # nnU-Net writes absolute paths into what it is given
        listed = get_filenames_of_train_images_and_targets(str(folder), deepcopy(description))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder / 'dataset.json'}: expected 'dataset' to be {{case: {{'images': [...], 'label': "
            f"...}}}}, got an entry without ({one_line(error, last=True)}). Complete it."
        ) from error
    if not listed or not all(case["images"] for case in listed.values()):
        raise UserError(
            f"{folder / 'dataset.json'}: expected cases with images under 'dataset', found "
            f"{'one without' if listed else 'none'}. List them, or remove the key and use imagesTr and labelsTr."
        )
    return [Case(name, tuple(map(Path, case["images"])), Path(case["label"])) for name, case in listed.items()]


def _check_channel_numbers(
    numbers: dict[str, list[int]], folder: Path, ending: str, channels: int, missing: Collection[int]
) -> None:
    """Refuse gaps and surplus; fewer files than channels may be one file with several channels (RGB), read later."""
    problems = {}
    for case, found in numbers.items():
        legal = range(channels) if len(found) > 1 or missing else range(1)
        absent = [number for number in legal if number not in (*found, *missing)]
        surplus = [number for number in found if number >= channels]
        if absent or surplus:
            problems[case] = [f"{case}_{number:04d}{ending}" for number in absent or surplus], bool(absent)
    if problems:
        case, (names, absent_one) = next(iter(problems.items()))
        wanted = channels - len(missing)
        raise UserError(
            f"{folder}: expected {wanted} channel{'s' * (wanted > 1)} of case {case!r} as in dataset.json, found "
            f"{'no' if absent_one else 'also'} {', '.join(names)}. {'Add' if absent_one else 'Remove'} "
            f"{'it' if len(names) == 1 else 'them'}.{more(len(problems) - 1)}"
        )
