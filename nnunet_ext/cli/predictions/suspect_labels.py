"""``nnunet_ext suspect_labels``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nnunet_ext import __version__
from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.output import shown_logs
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import write_json, write_text
from nnunet_ext.stock.folders import check_writable

if TYPE_CHECKING:
    from nnunet_ext.labels.suspects.search import Suspects

LISTED = 10  # cases in the terminal
WIDE = 768  # pixels of image, label and prediction


@dataclass
class SuspectLabels(Command):
    """Show which labels of a dataset are probably wrong, and how: flipped, shifted, swapped, missing.

    nnunet_ext suspect_labels -d 4 -tr nnUNetTrainer -p nnUNetPlans -c 3d_fullres

    Each label is compared with the prediction of the fold that did not train on it. No label is changed.
    Exit code 1 if a case could not be compared, because a file of it is missing or damaged.
    """

    name: ClassVar[str] = "suspect_labels"
    after_interruption: ClassVar[str] = "Run the same command again."
    has_workers: ClassVar[bool] = True

    d: str
    tr: str
    p: str
    c: str
    f: list[str]
    o: Path
    tau: float
    np: int | None = None
    no_pbar: bool = False

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-d", required=True, help="dataset, number or name")
        add("-tr", default="nnUNetTrainer", help="trainer of the folds [nnUNetTrainer]")
        add("-p", default="nnUNetPlans", help="plans of the folds [nnUNetPlans]")
        add("-c", required=True, help="configuration of the folds")
        add("-f", nargs="+", type=options.fold, default=[], metavar="FOLD", help="folds [all of splits_final.json]")
        add("-o", type=options.new_or_file, default=Path("suspects.csv"), metavar="FILE", help="table [suspects.csv]")
        add("--tau", type=options.real(0.5, 1), default=0.9, help="probability that counts as confident [0.9]")
        add("-np", type=options.whole(1), metavar="N", help="processes, each with a case in memory [usable cores]")
        add("--no_pbar", action="store_true", help="no progress bars")

    def run(self) -> int:
        """Compare all cases and write table, page and record; 1 if one could not be compared."""
        from nnunet_ext.labels.suspects.fold_predictions import FoldPredictions
        from nnunet_ext.labels.suspects.search import search
        from nnunet_ext.processes.cores import usable_cores

        if self.o.suffix != ".csv":
            raise UserError(f"-o {self.o}: expected a file that ends in .csv, found another ending. Correct it.")
        check_writable(self.o.parent, f"-o {self.o}")
        self._check_record()
        with shown_logs():
            predictions = FoldPredictions.find(self.d, self.tr, self.p, self.c, self.f)
            processes = self.np or usable_cores()
            found = search(predictions, tau=self.tau, processes=processes, show_progress=not self.no_pbar)
        self._write(found)
        return self._report(found)

    def _check_record(self) -> None:
        """Refuse to write over a JSON file of something else."""
        from nnunet_ext.files.json_file import read_object
        from nnunet_ext.labels.suspects.record import FORM

        record = self.o.with_suffix(".json")
        if record.exists() and read_object(record).get("form") != FORM:
            raise UserError(
                f"-o {self.o}: expected that {record.name} beside it is free, because it is written too, found one of "
                f"something else. Choose another name."
            )

    def _write(self, found: Suspects) -> None:
        from nnunet_ext.data.classes import map_names
        from nnunet_ext.labels.suspects.record import Record
        from nnunet_ext.labels.suspects.table import csv_table
        from nnunet_ext.quality.page import page

        dataset = found.predictions.dataset
        temperatures = ", ".join(f"{value:.2f} (fold {fold})" for fold, value in found.temperatures.items())
        facts = {
            "dataset": str(dataset.folder),
            "predictions": f"{self.tr}, {self.p}, {self.c}, folds {', '.join(map(str, found.predictions.folds))}",
            "temperature": temperatures or "none: the folds wrote no probabilities (--npz)",
            "pictures": "image, label, prediction; sizes are those of the label",
            "written by": f"nnunet_ext {__version__}",
        }
        rows = [case.as_quality() for case in found.cases]
        title = f"Suspect labels of {dataset.folder.name}"
        text = page(rows, map_names(dataset.description), title=title, facts=facts, widest=WIDE)
        write_text(self.o.with_suffix(".html"), text)
        write_json(self.o.with_suffix(".json"), Record.of(found).as_json(), indent=1)
        write_text(self.o, csv_table(found))

    def _report(self, found: Suspects) -> int:
        from nnunet_ext.evaluation.markdown_table import markdown_table

        suspects = [case for case in found.cases if case.reasons]
        if suspects:
            rows = [[c.measures.name, f"{c.suspicion:.2f}", c.reasons[0].text] for c in suspects[:LISTED]]
            print(markdown_table([["case", "suspicion", "reason"], *rows]))
        print(f"{len(suspects)} of {len(found.cases)} labels to look at; {self.o.with_suffix('.html')} written")
        print(f"{self.o} written. Correct: nnunet_ext correct_labels -d {self.d} -o NUMBER --from {self.o}")
        if poor := found.poorly_predicted():
            dices = ", ".join(f"{name} {dice:.2f}" for name, dice in poor.items())
            print(
                f"Note: the predictions hardly agree with the labels (median Dice: {dices}): what is listed may say "
                f"more of the models than of the labels. Train the folds longer."
            )
        failed = sorted(case.measures.name for case in found.cases if case.measures.problem is not None)
        if failed:
            print(
                f"{len(failed)} case{'s' * (len(failed) > 1)} could not be compared: {', '.join(failed)}",
                file=sys.stderr,
            )
        return 1 if failed else 0
