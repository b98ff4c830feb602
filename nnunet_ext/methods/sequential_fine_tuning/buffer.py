"""The buffer: cases of earlier data, on which a network keeps its features."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

from nnunet_ext.data.preprocessed.state import preprocessed_cases
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_object, write_json
from nnunet_ext.weights.roles import roles_of
from nnunet_ext.weights.topology import moved_channel

FORMAT = 1
REMEDY = "Write it with nnunet_ext select_similar."


@dataclass(frozen=True)
class Cases:
    """Some preprocessed cases.

    Args:
        place: Folder of the preprocessed data.
        names: Names of the cases.
    """

    place: Path
    names: tuple[str, ...]


def write_buffer(
    file: Path, place: Path, scores: Sequence[tuple[str, float | None]], chosen: int, origin: Mapping[str, Any]
) -> None:
    """Write the scores of all cases, the chosen ones first.

    Args:
        file: The JSON file; an existing one is replaced.
        place: Folder of the preprocessed data, which is noted relative to the file.
        scores: Name and score of each case, in their order.
        chosen: How many of them are the buffer.
        origin: How they were chosen, and the plans that the data were preprocessed with.
    """
    cases = [{"case": name, "score": score, "chosen": number < chosen} for number, (name, score) in enumerate(scores)]
    data = os.path.relpath(place.resolve(), file.resolve().parent)
    write_json(file, {"format": FORMAT, **origin, "data": data, "cases": cases}, indent=1)


def read_buffer(file: Path) -> Cases:
    """Return the chosen cases of a buffer.

    Raises:
        UserError: The file is missing or no buffer, or a case is not preprocessed any more.
    """
    if not file.is_file():
        raise UserError(f"{file}: expected a buffer of cases, found no file. {REMEDY}")
    content = read_object(file)
    listed, data = content.get("cases"), content.get("data")
    entries = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    chosen = [each.get("case") for each in entries if each.get("chosen") is True]
    names = [name for name in chosen if isinstance(name, str)]
    if (
        content.get("format") != FORMAT
        or not isinstance(listed, list)
        or not isinstance(data, str)
        or len(names) < len(chosen)
    ):
        raise UserError(f"{file}: expected a buffer of format {FORMAT} with 'data' and 'cases', found others. {REMEDY}")
    place = Path(os.path.normpath(file.resolve().parent / data))
    there = set(preprocessed_cases(place))
    if gone := [name for name in names if name not in there]:
        raise UserError(
            f"{file}: expected its cases in {place}, found no preprocessed {gone[0]!r} there. Restore the data, or "
            f"choose again with nnunet_ext select_similar."
        )
    if not names:
        raise UserError(f"{file}: expected a chosen case, found none. {REMEDY}")
    return Cases(place, tuple(names))


def without(groups: Sequence[Cases], others: Cases) -> tuple[list[Cases], int]:
    """Return groups of cases without some of them, groups that are left empty too; and how many were left out.

    Args:
        groups: The cases.
        others: Those to leave out. The dataset counts, which is the name of the folder above, not the plans.
    """
    dataset = others.place.parent.name
    kept = [
        Cases(
            group.place,
            tuple(name for name in group.names if group.place.parent.name != dataset or name not in others.names),
        )
        for group in groups
    ]
    left_out = sum(len(group.names) for group in groups) - sum(len(group.names) for group in kept)
    return [group for group in kept if group.names], left_out


class SeveralFolders:
    """Cases of several folders as one dataset of nnU-Net's loader.

    Args:
        groups: The cases of each folder.
    """

    def __init__(self, groups: Sequence[Cases]) -> None:
        self._datasets = [
            infer_dataset_class(str(group.place))(str(group.place), list(group.names)) for group in groups
        ]
        self._cases = {
            f"{number}/{name}": (number, name) for number, group in enumerate(groups) for name in group.names
        }
        self.identifiers = list(self._cases)

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Return image (C, D, H, W), labels (1, D, H, W), those of an earlier stage, and properties."""
        number, name = self._cases[identifier]
        found: tuple[Any, Any, Any, dict[str, Any]] = self._datasets[number].load_case(name)
        return found

    def check_channels(self, channels: int, names: Sequence[str] | None = None) -> None:
        """Refuse cases with other channels.

        Args:
            channels: Of the network's input.
            names: Names of these channels; None: not known.

        Raises:
            UserError: The first case of a folder has others, or dataset.json beside it names them in another order.
        """
        for dataset in self._datasets:
            found = dataset.load_case(dataset.identifiers[0])[0].shape[0]
            if found != channels:
                raise UserError(
                    f"{dataset.source_folder}: expected cases of {channels} channels, as the network has, found "
                    f"{found}. All data of a chain need the same channels."
                )
            file = Path(dataset.source_folder).parent / "dataset.json"
            theirs = roles_of(read_object(file), cascade=False).channels if file.is_file() else None
            if (moved := moved_channel(names, theirs)) is not None:
                raise UserError(
                    f"{file}: expected the channels in the order of the network's, found {moved}. Put the images' "
                    f"channels into that order, and preprocess them again."
                )
