"""``nnunet_ext evaluate``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nnunet_ext import __version__
from nnunet_ext.cli.challenges.chosen_challenge import CHALLENGES, EMPTY, chosen_challenge
from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.files.json_file import whole_file, write_json, write_text
from nnunet_ext.stock.folders import check_writable

if TYPE_CHECKING:
    from nnunet_ext.challenges.evaluation import Evaluation


@dataclass
class Evaluate(Command):
    """Measure predictions as a challenge does, or by metrics of your choice: table, JSON, figures.

    nnunet_ext evaluate kits21 predictions kits21/data
    nnunet_ext evaluate custom predictions nnUNet_raw/Dataset003_Liver/labelsTs --metrics dice,hd95,nsd@2mm
    """

    name: ClassVar[str] = "evaluate"
    after_interruption: ClassVar[str] = "Nothing was written. Run the same command again."
    has_workers: ClassVar[bool] = True

    challenge: str
    predictions: Path
    references: Path
    o: Path | None
    metrics: str | None
    djfile: Path | None
    empty: str | None
    majority: bool
    missing: str
    extra: str
    np: int | None
    no_figures: bool

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("challenge", choices=CHALLENGES, help="whose metrics; custom: those of --metrics, for any dataset")
        add("predictions", type=options.folder, metavar="PRED", help="folder of label maps, CASE.nii.gz, or of masks")
        add("references", type=options.folder, metavar="REF", help="folder of the references")
        add("-o", type=options.folder_or_new, metavar="DIR", help="where to write [PRED/evaluation]")
        add("--metrics", help="custom: dice, hd95, hd95_area, nsd@2mm, separated by commas [dice]")
        add("-djfile", type=options.file, metavar="FILE", help="custom: dataset.json [in REF, or in the folder above]")
        add("--empty", choices=EMPTY, help="custom: what two empty masks count as [leave_out]")
        add("--majority", action="store_true", help="kits21: compare with majority votes, the challenge's quick proxy")
        add(
            "--missing",
            choices=("error", "worst", "skip"),
            default="error",
            help="a prediction is missing: error, counts as worst, or is left out [error]",
        )
        add(
            "--extra",
            choices=("error", "skip"),
            default="error",
            help="a prediction has no reference: error, or is left out [error]",
        )
        add("-np", type=options.whole(1), metavar="N", help="processes, each with one case in memory [usable cores]")
        add("--no_figures", action="store_true", help="draw no figures")

    def run(self) -> int:
        """Measure all cases and write the results."""
        from nnunet_ext.challenges.evaluation import evaluate
        from nnunet_ext.challenges.tables import summary
        from nnunet_ext.processes.cores import usable_cores

        challenge = chosen_challenge(
            self.challenge,
            self.references,
            metrics=self.metrics,
            djfile=self.djfile,
            empty=self.empty,
            majority=self.majority,
        )
        folder = self.o or self.predictions / "evaluation"
        check_writable(folder, f"-o {folder}")
        found = evaluate(
            challenge,
            self.predictions,
            self.references,
            missing=self.missing,
            extra=self.extra,
            processes=self.np or usable_cores(),
        )
        self._write(folder, found)
        print(summary(found))
        print(f"\n{folder / challenge.table} and {folder / 'evaluation.json'} written")
        return 0

    def _write(self, folder: Path, found: Evaluation) -> None:
        from nnunet_ext.challenges.tables import as_json, csv_table

        origin = {
            "predictions": str(self.predictions),
            "references": str(self.references),
            "written_by": f"nnunet_ext {__version__}",
        }
        write_text(folder / found.challenge.table, csv_table(found))
        write_json(folder / "evaluation.json", as_json(found) | origin)
        if not self.no_figures:
            _write_figures(folder / "figures", found)


def _write_figures(folder: Path, found: Evaluation) -> None:
    """One file for each structure; a name that cannot be a file's is written with underscores."""
    import re

    from tqdm import tqdm

    from nnunet_ext.evaluation.structure_figure import structure_figure

    folder.mkdir(exist_ok=True)
    cases = [case.name for case in found.scored]
    for number, structure in enumerate(tqdm(found.challenge.structures, "figures", leave=False), 1):
        panels = {
            measure.metric.name: [case.values[measure.column] for case in found.scored]
            for measure in structure.measures
        }
        smaller = {each.metric.name for each in structure.measures if not each.metric.larger_is_better}
        name = re.sub(r"[^\w.-]", "_", structure.name)
        with whole_file(folder / f"{number:02}_{name}.png") as partial:
            structure_figure(structure.name, cases, panels, smaller=smaller).savefig(partial, dpi=100, format="png")
