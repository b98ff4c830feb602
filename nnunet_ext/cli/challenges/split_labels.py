"""``nnunet_ext split_labels``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.errors import UserError
from nnunet_ext.stock.folders import check_writable

FORMS = ("files", "image")
FOLDER = "structures"  # in that of the label maps


@dataclass
class SplitLabels(Command):
    """Split label maps into the structures that a challenge takes, which may overlap.

    nnunet_ext split_labels predictions                       # predictions/structures/CASE/STRUCTURE.nii.gz
    nnunet_ext split_labels predictions --structures image    # predictions/structures/CASE.mha

    Which structure has which labels is the key 'challenge' of dataset.json, by nnunet_ext convert; nnU-Net puts the
    file beside its predictions.
    """

    name: ClassVar[str] = "split_labels"
    after_interruption: ClassVar[str] = "Files that are there are whole. Run the same command again."

    labels: Path
    o: Path | None
    structures: Literal["files", "image"]
    djfile: Path | None
    no_pbar: bool

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("labels", type=options.folder, metavar="LABELS", help="folder of label maps, CASE.nii.gz")
        add("-o", type=options.folder_or_new, metavar="DIR", help=f"where to write [LABELS/{FOLDER}]")
        text = "files: a mask each; image: a 4d .mha of all, as Grand Challenge takes it [files]"
        add("--structures", choices=FORMS, default=FORMS[0], help=text)
        add("-djfile", type=options.file, metavar="FILE", help="dataset.json [in LABELS, or in the folder above]")
        add("--no_pbar", action="store_true", help="no progress bar")

    def run(self) -> int:
        """Write the structures of all label maps."""
        from nnunet_ext.challenges.challenge import label_files, some_cases
        from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
        from nnunet_ext.challenges.structure_files import write_structures
        from nnunet_ext.data.dataset_json import read_dataset_json

        file = self.djfile or self._dataset_json()
        description = read_dataset_json(file)
        record = ChallengeRecord.of(description, str(file))
        ending = description["file_ending"]
        cases = some_cases(label_files(self.labels, ending), self.labels, f"label maps CASE{ending}")
        folder = self.o or self.labels / FOLDER
        check_writable(folder, f"-o {folder}")
        written = write_structures(cases, folder, record, self.structures, show_progress=not self.no_pbar)
        print(written_line(len(record.structures), written, folder))
        return 0

    def _dataset_json(self) -> Path:
        for folder in (self.labels, self.labels.absolute().parent):
            if (folder / "dataset.json").is_file():
                return folder / "dataset.json"
        raise UserError(
            f"{self.labels}: expected dataset.json in it or in the folder above, found none. Give it with -djfile."
        )


def written_line(structures: int, cases: int, folder: Path) -> str:
    """Say what was written."""
    return f"{structures} structure{'s' * (structures != 1)} of {cases} case{'s' * (cases != 1)} written to {folder}"
