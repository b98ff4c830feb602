"""``nnunet_ext score_raters``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.output import shown_logs
from nnunet_ext.errors import UserError
from nnunet_ext.stock import folders


@dataclass
class ScoreRaters(Command):
    """Measure predictions against each of several raters, and the raters against each other.

    Dice to the majority and to each rater, soft Dice (with --save_probabilities of nnUNetv2_predict), energy distance,
    the agreement of the raters as the human line, predicted volume relative to each rater's:
    nnunet_ext score_raters -d 7 -i predicted --views anna=predicted_anna ben=predicted_ben -o scores.csv
    """

    name: ClassVar[str] = "score_raters"

    d: str
    i: Path
    raters: Path | None = None
    views: list[str] = field(default_factory=list)
    o: Path | None = None

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-d", required=True, help="dataset, number or name")
        add("-i", type=options.folder, required=True, help="folder of predictions")
        add(
            "--raters", type=options.folder, help="folder with a folder for each rater [labelsTr_raters of the dataset]"
        )
        add("--views", nargs="+", default=[], metavar="RATER=FOLDER", help="predictions of the raters' views")
        add("-o", type=options.new_or_file, help="CSV file: a line for each case and class")

    def run(self) -> int:
        """Score all cases, print the means and write the table."""
        from nnunet_ext.data.raw_dataset import RawDataset
        from nnunet_ext.files.json_file import write_text
        from nnunet_ext.labels.raters.raw_raters import FOLDER
        from nnunet_ext.labels.raters.scored_folder import csv_of, score_folder, table

        raw = folders.dataset("nnUNet_raw", self.d)
        views = {rater: Path(place) for rater, place in options.pairs("--views", self.views).items()}
        for rater, place in views.items():
            if not place.is_dir():
                raise UserError(f"--views {rater}={place}: expected a folder of predictions, found none. Correct it.")
        with shown_logs():
            scores = score_folder(self.i, self.raters or raw / FOLDER, RawDataset.read(raw).description, views)
        print(table(scores))
        if self.o is not None:
            write_text(self.o, csv_of(scores))
            print(f"{self.o}: {len(scores)} lines, one for each case and class")
        return 0
