"""``nnunet_ext qa``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nnunet_ext import __version__
from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.output import shown_logs
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import write_text
from nnunet_ext.sockets import open_door
from nnunet_ext.stock.folders import check_writable

if TYPE_CHECKING:
    from nnunet_ext.data.image_case import Case
    from nnunet_ext.quality.case_quality import CaseQuality
    from nnunet_ext.quality.disagreement import Repetition
    from nnunet_ext.quality.model_files import ModelFiles

REFERENCE = "qa_reference.json"
LISTED = 10  # cases in the terminal


@dataclass
class Qa(Command):
    """Show which predictions to look at first, and why: a page with pictures, suspicious cases on top.

    nnunet_ext qa -i imagesTs -p predictions -m Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres

    Label maps of any tool are compared with the training labels and the fingerprint of a model.
    Exit code 1 if a case could not be looked at, because a file of it is missing or damaged.
    """

    name: ClassVar[str] = "qa"
    after_interruption: ClassVar[str] = "Run the same command again; training labels that were measured are kept."

    i: Path
    p: Path
    m: Path
    o: Path
    csv: bool
    disagreement: bool
    again: int | None
    f: list[str]
    chk: str
    device: str
    trust: bool

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-i", required=True, type=options.folder, metavar="IMAGES", help="folder of images, named CASE_0000 ...")
        add("-p", required=True, type=options.folder, metavar="PREDICTIONS", help="folder of label maps, named CASE")
        add(
            "-m", required=True, type=Path, metavar="MODEL", help="TRAINER__PLANS__CONFIGURATION, or a model's zip file"
        )
        add("-o", type=options.new_or_file, default=Path("qa.html"), metavar="FILE", help="the page [qa.html]")
        add("--csv", action="store_true", help="also write a table beside the page")
        add("--disagreement", action="store_true", help="predict again by each fold, and with and without mirroring")
        add("--again", type=options.whole(1), metavar="N", help="with --disagreement: only the N most suspicious [all]")
        add("-f", nargs="+", type=options.fold, default=[], metavar="FOLD", help="folds to predict again by [all]")
        add("-chk", default="checkpoint_final.pth", help="checkpoint to predict again by [checkpoint_final.pth]")
        add("-device", type=options.device, default="cuda", help="to predict again on: cpu, cuda or mps [cuda]")
        add("--trust", action="store_true", help=options.TRUST)

    def run(self) -> int:
        """Look at all cases and write the page; 1 if one could not be looked at."""
        if self.again is not None and not self.disagreement:
            raise UserError("--again: expected --disagreement beside it, found none. Add it, or leave out --again.")
        table = self.o.with_suffix(".csv")
        if self.csv and table == self.o:
            raise UserError(
                f"-o {self.o}: expected the name of a page, got that of a table. Call it {self.o.stem}.html."
            )
        check_writable(self.o.parent, f"-o {self.o}")
        if self.disagreement:
            from nnunet_ext.stock.entry_points import check_device

            check_device(self.device)
            open_door()
        with shown_logs():
            return self._look(table)

    def _look(self, table: Path) -> int:
        from nnunet_ext.data.raw_dataset import list_images
        from nnunet_ext.quality.assessment import Assessment
        from nnunet_ext.quality.model_files import ModelFiles
        from nnunet_ext.quality.training_labels import training_labels

        model = ModelFiles.read(self.m)
        images = list_images(self.i, model.file_ending, model.channels)
        if self.disagreement:
            self._repetition().check()
        training = training_labels(model, self.o.with_name(REFERENCE))
        cases = Assessment(model, training).of_folder(self.i, self.p)
        self._write(model, cases, len(training), table)
        if self.disagreement:
            self._predict_again(model, cases, images)
            self._write(model, cases, len(training), table)
        return self._report(cases, table)

    def _repetition(self) -> Repetition:
        from nnunet_ext.quality.disagreement import Repetition

        return Repetition(self.m, self.f, self.chk, self.device, self.trust)

    def _predict_again(self, model: ModelFiles, cases: Sequence[CaseQuality], images: Sequence[Case]) -> None:
        from nnunet_ext.data.classes import foreground_classes
        from nnunet_ext.quality.case_quality import suspicious_first

        files = {case.name: case for case in images}
        by_name = {case.name: case for case in suspicious_first(list(cases)) if not case.failed}
        wanted = [files[name] for name in by_name][: self.again]
        # not in the system's folder for such files, which can be kept in memory
        with tempfile.TemporaryDirectory(prefix=".qa-", dir=self.o.parent) as scratch:
            found = self._repetition().reasons(wanted, foreground_classes(model.dataset_json), Path(scratch))
        for name, reasons in found.items():
            by_name[name].reasons += reasons
            by_name[name].failed |= any(reason.kind == "file" for reason in reasons)

    def _write(self, model: ModelFiles, cases: Sequence[CaseQuality], training: int, table: Path) -> None:
        from nnunet_ext.data.classes import map_names
        from nnunet_ext.quality.csv_table import csv_table
        from nnunet_ext.quality.page import page

        facts = {
            "images": str(self.i),
            "predictions": str(self.p),
            "model": str(self.m),
            "compared with": f"{training} training labels" if training else "no training labels: they were not found",
            "written by": f"nnunet_ext {__version__}",
        }
        title = f"Predictions of {self.p.resolve().name}"
        write_text(self.o, page(cases, map_names(model.dataset_json), title=title, facts=facts))
        if self.csv:
            write_text(table, csv_table(cases))

    def _report(self, cases: Sequence[CaseQuality], table: Path) -> int:
        from nnunet_ext.evaluation.markdown_table import markdown_table
        from nnunet_ext.quality.case_quality import suspicious_first

        suspicious = [case for case in suspicious_first(list(cases)) if case.is_suspicious]
        if suspicious:
            rows = [
                [case.name, f"{case.suspicion:.2f}", case.strongest_first()[0].text] for case in suspicious[:LISTED]
            ]
            print(markdown_table([["case", "suspicion", "strongest reason"], *rows]))
        print(f"{len(suspicious)} of {len(cases)} cases to look at first; {self.o} written")
        if self.csv:
            print(f"{table} written")
        failed = sorted(case.name for case in cases if case.failed)
        if failed:
            print(
                f"{len(failed)} case{'s' * (len(failed) > 1)} could not be looked at: {', '.join(failed)}",
                file=sys.stderr,
            )
        return 1 if failed else 0
