"""The state of a dataset's preprocessed data, compared with the dataset.

Preprocessing that ends halfway (Ctrl-C, job limit, memory, full disk) leaves only some of the cases, and only some
files of a case; nnU-Net trains on what it finds. The check costs a listing of two folders, and 24 bytes of each array
if no marker of ours (:mod:`nnunet_ext.data.preprocessed.marker`) vouches for the files.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nnunet_ext.data.companion_files import files_of
from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.preprocessed.data_hash import preprocessing_hash
from nnunet_ext.data.preprocessed.marker import DataMarker
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError, more
from nnunet_ext.files.file_stamp import FileStamp, changed_file
from nnunet_ext.files.json_file import read_json
from nnunet_ext.files.system_files import files_in

ARRAYS, OLD_ARRAYS, LABELS, PROPERTIES = ".b2nd", ".npz", "_seg.b2nd", ".pkl"
TRUTHS, FINGERPRINT = "gt_segmentations", "dataset_fingerprint.json"
MAGIC, SIZE_AT = b"b2frame\0", 16  # Blosc2's frame: its length is in its header, in 8 bytes


def preprocessed_cases(place: Path) -> list[str]:
    """Return the cases that nnU-Net's loader sees in a folder of preprocessed data, sorted; complete or not.

    Args:
        place: The folder, which need not exist.
    """
    return sorted(_cases(os.listdir(place) if place.is_dir() else ()))


@dataclass(frozen=True)
class PreprocessedState:
    """The preprocessed data of one configuration of a dataset.

    Data that stock commands preprocessed have no marker: all their cases must be there and intact. With a marker they
    must also be those of the current plans, labels and images.

    Args:
        folder: The dataset's folder in nnUNet_preprocessed.
        plans: The plans.
        configuration: Name of the configuration.
        raw: The dataset's folder in nnUNet_raw, which may be None or not exist.
    """

    folder: Path
    plans: Mapping[str, Any]
    configuration: str
    raw: Path | None = None

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """The configuration with what it inherits, as nnU-Net resolves it."""
        all_of_them, name = self.plans["configurations"], self.configuration
        found, seen = dict(all_of_them[name]), {name}
        while (parent := found.pop("inherits_from", None)) in all_of_them and parent not in seen:
            seen.add(parent)
            found = {**all_of_them[parent], **found}
        return found

    @property
    def place(self) -> Path:
        """The folder of the data, which need not exist."""
        return self.folder / self.resolved["data_identifier"]

    @property
    def marker(self) -> DataMarker:
        """What is recorded of the data."""
        return DataMarker(self.place)

    @cached_property
    def digest(self) -> str:
        """What preprocessing depends on besides the files."""
        return preprocessing_hash(self.folder, self.plans, self.resolved)

    @cached_property
    def description(self) -> dict[str, Any]:
        """The dataset.json that the data were planned with."""
        return read_json(self.folder / "dataset.json")

    @cached_property
    def raw_cases(self) -> dict[str, Case] | None:
        """The dataset's cases by name; None where its raw data are not at hand."""
        if self.raw is None or not (self.raw / "dataset.json").is_file():
            return None
        description = read_json(self.raw / "dataset.json")
        ending = description.get("file_ending", "")
        if "dataset" not in description and not any(f.name.endswith(ending) for f in files_in(self.raw / "imagesTr")):
            return None  # archived
        return {case.name: case for case in RawDataset(self.raw, description).cases()}

    @cached_property
    def files(self) -> dict[str, int]:
        """Size by name of the files that are there."""
        return sizes(self.place)

    @cached_property
    def found(self) -> set[str]:
        """Names of the cases that nnU-Net would train on, complete or not."""
        return _cases(self.files)

    @cached_property
    def expected(self) -> set[str]:
        """Names of all cases of the dataset; without raw data those in dataset.json or gt_segmentations."""
        if self.raw_cases is not None:
            return set(self.raw_cases)
        if "dataset" in self.description:
            return set(self.description["dataset"])
        if len(self.found) == self.description.get("numTraining"):
            return self.found  # gt_segmentations keeps cases that were removed
        return self.found | self._truths.keys()

    @property
    def has_images_alone(self) -> bool:
        """Whether the dataset was planned without a labelled case."""
        file = self.folder / "dataset.json"
        return not self.found and file.is_file() and self.description.get("numTraining") == 0

    def is_done(self) -> bool:
        """Whether preprocessing again would change nothing; only a marker can tell."""
        return self.marker.problem(self.digest) is None and not self.missing() and not self.surplus()

    def missing(self) -> list[str]:
        """Return the cases with a file that is missing, not intact, or made from files that have changed since."""
        return sorted(name for name in self.expected if not self._is_whole(name) or self._changed(name))

    def surplus(self) -> list[str]:
        """Return cases that the dataset no longer has."""
        return sorted(self.found - self.expected)

    def truths_missing(self) -> list[str]:
        """Return the cases without a label file in gt_segmentations, which the final validation reads."""
        return sorted(name for name in self.expected if not self._truths.get(name))

    def are_of_now(self, marker: DataMarker) -> bool:
        """Whether data, possibly of other plans, were made from the dataset's images and labels as they are now."""
        sources = marker.sources()
        return not any(changed_file(files_of(case), sources.get(name)) for name, case in self._raw().items())

    def stamps(self) -> dict[str, list[Any]]:
        """Return the identity of each case's files, for the marker; reads all label files."""
        return {name: [FileStamp.of(file).as_json() for file in files_of(case)] for name, case in self._raw().items()}

    def problem(self) -> str | None:
        """Return what is there instead of complete data, as ``found none: ...``; None if they are complete."""
        if not self.found:
            return f"found {'them deleted' if self.marker.sizes() else 'none: they were never preprocessed'}"
        if self._of_other_plans():
            return "found those of earlier plans or labels: they were planned again since they were preprocessed"
        whole = {name for name in self.expected if self._is_whole(name)}
        if partly := sorted(self.expected - whole):
            return (
                f"found {len(whole)} of {len(self.expected)} cases, without {partly[0]}{more(len(partly) - 1)}: "
                f"preprocessing was interrupted, or cases were added since"
            )
        if surplus := self.surplus():
            return f"found case {surplus[0]}, which the dataset no longer has{more(len(surplus) - 1)}"
        if changed := [name for name in sorted(self.expected) if self._changed(name)]:
            return (
                f"found case {changed[0]} from before {self._changed(changed[0])} was changed{more(len(changed) - 1)}"
            )
        if truths := self.truths_missing():
            return (
                f"found no label of {truths[0]} in {TRUTHS}{more(len(truths) - 1)}, which the final validation reads: "
                f"preprocessing was interrupted"
            )
        return None

    def check(self, command: str | None = None) -> None:
        """Refuse to train or validate on data that are not complete.

        Args:
            command: The command that completes them; by default ``nnunet_ext preprocess`` with these plans.

        Raises:
            UserError: The first problem.
        """
        number, name = dataset_number(self.plans["dataset_name"]), self.plans["plans_name"]
        if self.has_images_alone:
            raise UserError(
                f"{self.place}: expected labelled cases to train on, found a dataset without a labelled case, on which "
                f"only MaskedAutoencoderTrainer trains. Add imagesTr and labelsTr, and run nnunet_ext "
                f"plan_and_preprocess -d {number}"
            )
        if (problem := self.problem()) is not None:
            remedy = command or f"nnunet_ext preprocess -d {number} -p {name} -c {self.configuration}"
            raise UserError(f"{self.place}: expected preprocessed data of plans {name!r}, {problem}. Run {remedy}")
        if not (self.folder / FINGERPRINT).is_file():
            raise UserError(
                f"{self.folder / FINGERPRINT}: expected the fingerprint that a training copies, found no file. Run "
                f"nnUNetv2_extract_fingerprint -d {number}"
            )

    def _raw(self) -> dict[str, Case]:
        return self.raw_cases or {}

    @cached_property
    def _recorded(self) -> Mapping[str, Any]:
        return self.marker.sources()

    @cached_property
    def _truths(self) -> dict[str, int]:
        ending = self.description["file_ending"]
        there = sizes(self.folder / TRUTHS).items()
        return {name.removesuffix(ending): size for name, size in there if name.endswith(ending)}

    def _of_other_plans(self) -> bool:
        """Whether these very files were made with other plans; a stock command may have replaced them since."""
        digest, recorded = self.marker.digest(), self.marker.sizes()
        there = {name: size for name, size in recorded.items() if name in self.files}
        return digest not in (None, self.digest) and all(self.files[name] == size for name, size in there.items())

    def _is_whole(self, name: str) -> bool:
        if f"{name}{OLD_ARRAYS}" in self.files:
            return self._is_sound(f"{name}{OLD_ARRAYS}") and self._is_sound(f"{name}{PROPERTIES}")
        return all(self._is_sound(f"{name}{ending}") for ending in (ARRAYS, LABELS, PROPERTIES))

    def _is_sound(self, file: str) -> bool:
        size = self.files.get(file)
        return bool(size) and (self._vouched.get(file) == size or is_readable(self.place / file))

    @cached_property
    def _vouched(self) -> Mapping[str, int]:
        return self.marker.sizes()

    def _changed(self, name: str) -> Path | None:
        """Return a file of a case that has changed since the case was preprocessed; None if unknown."""
        case, stamps = self._raw().get(name), self._recorded.get(name)
        if case is None or stamps is None or not self._is_as_recorded(name):
            return None
        return changed_file(files_of(case), stamps)

    def _is_as_recorded(self, name: str) -> bool:
        """Whether a case's files are those that the marker describes: a stock command may have replaced them since."""
        names = [f"{name}{ending}" for ending in (ARRAYS, LABELS, PROPERTIES)]
        return not self._vouched or all(self.files.get(file) == self._vouched.get(file) for file in names)


def sizes(folder: Path) -> dict[str, int]:
    """Return size by name of the files in a folder, which need not exist."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}


def is_readable(file: Path) -> bool:
    """Whether a file of a preprocessed case is intact, judging by its ends: cheap enough for thousands of cases."""
    if file.name.endswith(OLD_ARRAYS):
        return zipfile.is_zipfile(file)
    with file.open("rb") as stream:
        if file.name.endswith(PROPERTIES):
            stream.seek(-1, os.SEEK_END)
            return stream.read() == b"."  # what a pickle ends with
        head = stream.read(SIZE_AT + 8)
    return MAGIC in head and int.from_bytes(head[SIZE_AT:], "big") == file.stat().st_size


def _cases(names: Iterable[str]) -> set[str]:
    arrays = {name.removesuffix(ARRAYS) for name in names if name.endswith(ARRAYS) and not name.endswith(LABELS)}
    return arrays | {name.removesuffix(OLD_ARRAYS) for name in names if name.endswith(OLD_ARRAYS)}
