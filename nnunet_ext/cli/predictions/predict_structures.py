"""``nnunet_ext predict --structures``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from nnunet_ext.cli.challenges.split_labels import FOLDER, FORMS, written_line
from nnunet_ext.data.dataset_json import read_dataset_json

if TYPE_CHECKING:
    from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
    from nnunet_ext.challenges.structure_files import Form
    from nnunet_ext.cli.predictions.predict import Predict

FLAG = "--structures"


def add_structures_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    text = f"also write a challenge's overlapping structures to OUTPUT/{FOLDER}: a file each, or a 4d .mha (ours)"
    parser.add_argument(FLAG, choices=FORMS, help=text)


def without_structures(words: Sequence[str]) -> list[str]:
    """Return the words of a command line without the option, which nnUNetv2_predict does not have."""
    pairs = zip(["", *words], words, strict=False)
    return [word for before, word in pairs if FLAG not in (before, word.partition("=")[0])]


def challenge_record(model: Path) -> ChallengeRecord:
    """Return the challenge that a model was trained for.

    Raises:
        UserError: Its dataset.json names none.
    """
    from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord

    file = model / "dataset.json"
    return ChallengeRecord.of(read_dataset_json(file), f"{FLAG}: {file}")


def write_predicted_structures(command: Predict, model: Path) -> None:
    """Write the structures of all label maps that this command has predicted or kept.

    Raises:
        UserError: A label map is damaged, or a file cannot be written.
    """
    from nnunet_ext.challenges.structure_files import write_structures
    from nnunet_ext.data.raw_dataset import list_images
    from nnunet_ext.prediction.missing_channels import missing_channels

    description, record = read_dataset_json(model / "dataset.json"), challenge_record(model)
    ending, channels = description["file_ending"], len(description["channel_names"])
    output = Path(str(command.o))
    missing = missing_channels(command.missing_channel, description)
    cases = list_images(Path(str(command.i)), ending, channels, missing)[command.part_id :: command.num_parts]
    files = {case.name: output / f"{case.name}{ending}" for case in cases}
    written = write_structures(
        {case: file for case, file in files.items() if file.is_file()},
        output / FOLDER,
        record,
        cast("Form", command.structures),
        overwrite=not command.continue_prediction,
        show_progress=not command.disable_progress_bar,
    )
    print(written_line(len(record.structures), written, output / FOLDER))
