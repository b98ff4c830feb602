"""``nnunet_ext shift_test``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.output import shown_logs
from nnunet_ext.files.json_file import whole_file, write_text
from nnunet_ext.processes.run_lock import run_lock
from nnunet_ext.sockets import open_door
from nnunet_ext.stock.folders import check_writable

if TYPE_CHECKING:
    from nnunet_ext.prediction.predictor import Predictor
    from nnunet_ext.shifts.record import ShiftRecord


@dataclass
class ShiftTest(Command):
    """Show how fragile a model is: Dice of its validation cases under simulated shifts of another scanner.

    nnunet_ext shift_test "$nnUNet_results/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres" -o shifts

    Gamma, bias field, noise, blur, resolution and inversion, each at two fixed strengths that nnU-Net's augmentation
    does not exceed, are applied to the raw images. OUT gets a figure, a table of all cases, and a record with which an
    interrupted test goes on.
    """

    name: ClassVar[str] = "shift_test"
    after_interruption: ClassVar[str] = "Run the same command again; cases that were predicted are kept."

    model: Path
    o: Path
    f: list[str]
    chk: str
    cases: int | None
    disable_tta: bool
    device: str
    trust: bool
    no_pbar: bool

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("model", type=options.folder, metavar="MODEL", help="TRAINER__PLANS__CONFIGURATION, a model's folder")
        add("-o", required=True, type=options.folder_or_new, metavar="OUT", help="folder for figure, table and record")
        add("-f", nargs="+", type=options.fold, default=[], metavar="FOLD", help="folds [all that are trained]")
        add("-chk", default="checkpoint_final.pth", help="checkpoint [checkpoint_final.pth]")
        add("--cases", type=options.whole(1), metavar="N", help="only the first N validation cases of a fold [all]")
        add("--disable_tta", action="store_true", help="do not mirror: 3d takes an eighth of the time")
        add("-device", type=options.device, default="cuda", help="cpu, cuda or mps [cuda]")
        add("--trust", action="store_true", help=options.TRUST)
        add("--no_pbar", action="store_true", help="no progress bar")

    def run(self) -> int:
        """Predict, score and write."""
        from nnunet_ext.stock.entry_points import check_device

        check_device(self.device)
        open_door()
        with shown_logs():
            return self._run()

    def _run(self) -> int:
        from nnunet_ext.shifts.held_out import HeldOut
        from nnunet_ext.shifts.record import ShiftRecord
        from nnunet_ext.shifts.shift_test import shift_test

        held_out = HeldOut.find(self.model, self.f, self.chk, most=self.cases, trust=self.trust)
        check_writable(self.o, f"-o {self.o}")
        with run_lock(self.o, "testing shifts"):
            record = ShiftRecord.open(self.o / "shift_test.json", held_out, self.chk, mirroring=not self.disable_tta)
            tested = shift_test(held_out, self._predictor, done=record.cases, show_progress=not self.no_pbar)
            for case, dices in tested:
                record.add(case, dices)
            self._write(record, [case.name for cases in held_out.folds.values() for case in cases])
        return 0

    def _predictor(self, fold: str) -> Predictor:
        from nnunet_ext.prediction.predictor import Predictor

        return Predictor(
            self.model, [fold], self.chk, device=self.device, mirroring=not self.disable_tta, trust=self.trust
        )

    def _write(self, record: ShiftRecord, names: list[str]) -> None:
        from nnunet_ext.evaluation.markdown_table import markdown_table
        from nnunet_ext.shifts.figure import fragility_figure
        from nnunet_ext.shifts.shift_scores import UNSHIFTED, shift_rows, shift_scores

        write_text(self.o / "shift_test.csv", record.csv_table())
        scores = shift_scores({name: record.cases[name] for name in names})
        if not scores:
            print("no case has a class in label or prediction: nothing to compare")
            return
        with whole_file(self.o / "shift_test.png") as partial:
            fragility_figure(scores, record.settings["model"]).savefig(partial, dpi=110, format="png")
        print(markdown_table(shift_rows(scores)))
        shifted = [each for each in scores if each.name != UNSHIFTED]
        if shifted:
            largest = max(shifted, key=lambda each: each.drop)
            mean = sum(each.drop for each in shifted) / len(shifted)
            print(
                f"Mean drop {mean:.3f}, largest {largest.drop:.3f} ({largest.name}), {len(names)} "
                f"case{'s' * (len(names) != 1)}"
            )
        print(f"{self.o / 'shift_test.png'} and {self.o / 'shift_test.csv'} written")
