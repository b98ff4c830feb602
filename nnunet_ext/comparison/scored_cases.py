"""The cases that ``nnunet_ext compare`` scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nnunet_ext.comparison.digest import files_digest
from nnunet_ext.data.case_check import check_case
from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.data.companion_files import files_of, links
from nnunet_ext.data.dataset_json import HIDDEN, TEST, read_dataset_json, scored_names
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.image_reader import planned_reader
from nnunet_ext.data.raw_dataset import RawDataset, list_images
from nnunet_ext.errors import UserError
from nnunet_ext.files.link import link
from nnunet_ext.files.system_files import files_in
from nnunet_ext.semi_supervised.hidden_labels import scored_cases
from nnunet_ext.stock import folders

VALIDATION, FOLDERS = "validation", "test images"
CHOICES = (TEST, HIDDEN, VALIDATION)


@dataclass(frozen=True)
class ScoredCases:
    """Cases with labels, and where they come from.

    Args:
        origin: ``test images``, ``test``, ``hidden_labels`` or ``validation``.
        description: dataset.json.
        cases: Images and labels; none if they are the fold's validation cases, which training predicts.
    """

    origin: str
    description: dict[str, Any]
    cases: tuple[Case, ...] = ()

    @classmethod
    def find(cls, dataset: str, score: str | None, images: Path | None, labels: Path | None) -> ScoredCases:
        """Take the folders if given, else what ``nnunet_ext hide_labels`` set apart, else the validation cases.

        Args:
            dataset: Number or name.
            score: One of the choices, instead of the first that exists.
            images: Folder of test images.
            labels: Folder of their labels.

        Raises:
            UserError: There are no such cases, or a label is missing.
        """
        description = read_dataset_json(folders.dataset("nnUNet_preprocessed", dataset) / "dataset.json")
        if (images is None) != (labels is None) or (images is not None and score is not None):
            raise UserError("--test_images: expected --test_labels beside it and no --score. Give both, or neither.")
        if images is not None and labels is not None:
            return cls(FOLDERS, description, _from_folders(images, labels, description))
        origin = score or next((key for key in (TEST, HIDDEN) if scored_names(description, key)), VALIDATION)
        if origin == VALIDATION:
            return cls(origin, description)
        return cls(origin, description, tuple(scored_cases(folders.dataset("nnUNet_raw", dataset), origin)))

    @property
    def ending(self) -> str:
        """Ending of images and labels."""
        return self.description["file_ending"]

    @property
    def classes(self) -> dict[str, int | tuple[int, ...]]:
        """The foreground's labels by class name; several labels make a region."""
        return foreground_classes(self.description)

    @cached_property
    def digests(self) -> dict[str, str]:
        """Hashes of label and images by case; none for validation cases, which are the dataset's own.

        Raises:
            UserError: A file cannot be read.
        """
        return {case.name: files_digest(files_of(case)) for case in self.cases}

    def check(self, plans: Mapping[str, Any]) -> None:
        """Read all files and refuse what is wrong with them, before hours of training.

        Args:
            plans: The plans, which name the reader that prediction and scoring take.

        Raises:
            UserError: The first problem.
        """
        from tqdm import tqdm

        legal = RawDataset(Path(), self.description).legal_labels()
        channels = len(RawDataset(Path(), self.description).channel_names)
        reader = planned_reader(plans)
        for case in tqdm(self.cases, desc="checking the cases to score", leave=False):
            check_case(case, reader, channels, legal)

    def link_images(self, folder: Path) -> None:
        """Put links to the images, and what is beside them, into a folder, named as nnUNetv2_predict expects.

        Raises:
            UserError: Something else is in the folder.
        """
        wanted: dict[Path, Path] = {}
        for case in self.cases:
            wanted |= links(case.images, folder, case.name, self.ending)
        folder.mkdir(parents=True, exist_ok=True)
        if other := sorted(set(files_in(folder)) - set(wanted)):
            raise UserError(
                f"{folder}: expected the images to score and nothing else, found {other[0].name}. Choose another -o."
            )
        for target, image in wanted.items():
            if target.is_symlink():
                target.unlink()
            if not target.exists():
                link(image, target)


def _from_folders(images: Path, labels: Path, description: dict[str, Any]) -> tuple[Case, ...]:
    ending = description["file_ending"]
    channels = len(RawDataset(Path(), description).channel_names)
    cases = [Case(c.name, c.images, labels / f"{c.name}{ending}") for c in list_images(images, ending, channels)]
    missing = _without_label(cases)
    if missing:
        raise UserError(
            f"{missing[0].label}: expected the label of test image {missing[0].name!r}, found no file. Add it."
        )
    return tuple(cases)


def _without_label(cases: Sequence[Case]) -> list[Case]:
    return [case for case in cases if case.label is None or not case.label.is_file()]
