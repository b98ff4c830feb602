"""A challenge's data, found and named but not yet converted: which files make which case of which dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from nnunet_ext.challenges.conversion.challenge_record import KEY, ChallengeRecord
from nnunet_ext.challenges.conversion.voxel_file import VoxelFile
from nnunet_ext.data.dataset_json import BACKGROUND
from nnunet_ext.data.folds import Folds
from nnunet_ext.errors import UserError
from nnunet_ext.labels.raters.raw_raters import EXCHANGEABLE
from nnunet_ext.labels.raters.raw_raters import KEY as RATERS

ENDING = ".nii.gz"


class MadeLabel(NamedTuple):
    """A label map (D, H, W) of integers, and what is recorded about it: JSON."""

    labels: NDArray[Any]
    record: dict[str, Any]


class LabelRecipe(Protocol):
    """How a label map is made of a case's masks."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The masks."""

    @property
    def rule(self) -> str:
        """What else the result depends on."""

    def make(self) -> MadeLabel:
        """Read the masks and make the label map."""


@dataclass(frozen=True)
class SourceCase:
    """A case in the challenge's folder.

    Args:
        name: In the dataset.
        images: One file for each channel.
        label: A label map that is taken as it is, how to make one, or None for a case to predict.
        raters: How to make the label map of each rater, by name.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | LabelRecipe | None
    raters: Mapping[str, LabelRecipe] = field(default_factory=dict)

    def files(self) -> tuple[Path, ...]:
        """Return all files that the case is made of."""
        return (*self.images, *self.label_files())

    def label_files(self) -> tuple[Path, ...]:
        """Return the files that the label and the maps of raters are made of, each once."""
        recipes = [*self.raters.values()]
        if self.label is not None and not isinstance(self.label, Path):
            recipes.insert(0, self.label)
        ready = [self.label] if isinstance(self.label, Path) else []
        return tuple(dict.fromkeys([*ready, *(file for recipe in recipes for file in recipe.files)]))

    def check_grid(self) -> None:
        """Read the headers of all files.

        Raises:
            UserError: One is damaged or does not lie on the grid of the first image.
        """
        first = VoxelFile(self.images[0])
        first.grid()
        for file in (*self.images[1:], *self.label_files()):
            VoxelFile(file).check_grid(first)


@dataclass(frozen=True)
class Conversion:
    """What becomes a raw nnU-Net dataset.

    Args:
        record: Challenge, structures and channels.
        dataset: Name of the dataset without its number.
        channel_names: By which nnU-Net chooses the normalization.
        labels: Of dataset.json, without background.
        cases: Training cases.
        of_challenge: How many training cases the challenge has; None if nobody knows.
        regions_class_order: For labels that are regions.
        reader: nnU-Net's reader, if not its default.
        test_cases: Cases without a label, for ``imagesTs``.
        folds: If not nnU-Net's default.
        options: What else the dataset depends on; a second call must have the same.
        notes: What the user should know.
        merged_below: Combinations of structures with fewer voxels in all cases get no label of their own; None if the
            labels are known beforehand.
    """

    record: ChallengeRecord
    dataset: str
    channel_names: tuple[str, ...]
    labels: Mapping[str, int | list[int]]
    cases: tuple[SourceCase, ...]
    of_challenge: int | None = None
    regions_class_order: tuple[int, ...] | None = None
    reader: str | None = None
    test_cases: tuple[SourceCase, ...] = ()
    folds: Folds | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    merged_below: int | None = None

    def __post_init__(self) -> None:
        """Refuse two cases of one name, of which the second would replace the first.

        Raises:
            UserError: There are, such as 7.nii.gz and 07.nii.gz.
        """
        first: dict[str, SourceCase] = {}
        for case in self.all_cases():
            other = first.setdefault(case.name, case)
            if other is not case:
                raise UserError(
                    f"{case.images[0]}: expected one image for case {case.name}, found {other.images[0]} as well. "
                    f"Remove one."
                )

    def all_cases(self) -> tuple[SourceCase, ...]:
        """Return training and test cases."""
        return (*self.cases, *self.test_cases)

    def description(self) -> dict[str, Any]:
        """Return dataset.json."""
        found: dict[str, Any] = {
            "channel_names": {str(number): name for number, name in enumerate(self.channel_names)},
            "labels": {BACKGROUND: 0, **self.labels},
        }
        if self.regions_class_order is not None:
            found["regions_class_order"] = list(self.regions_class_order)
        found |= {"numTraining": len(self.cases), "file_ending": ENDING}
        if self.reader is not None:
            found["overwrite_image_reader_writer"] = self.reader
        if any(case.raters for case in self.cases):
            found[RATERS] = EXCHANGEABLE
        return found | {KEY: self.record.as_json()}
