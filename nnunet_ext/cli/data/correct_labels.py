"""``nnunet_ext correct_labels``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.output import shown_logs
from nnunet_ext.errors import UserError, nearest
from nnunet_ext.stock import folders
from nnunet_ext.stock.folders import numbers_to_oneself

if TYPE_CHECKING:
    from nnunet_ext.data.raw_dataset import RawDataset
    from nnunet_ext.labels.suspects.corrected_dataset import Changes, CorrectedDataset
    from nnunet_ext.labels.suspects.fold_predictions import FoldPredictions
    from nnunet_ext.labels.suspects.predicted_case import PredictedCase
    from nnunet_ext.labels.suspects.record import Record

DROP, IGNORE, REPLACE = "drop", "ignore", "replace"


@dataclass
class CorrectLabels(Command):
    """Make a dataset without suspect labels, or with ignored or replaced ones where the folds are confident.

    nnunet_ext correct_labels -d 4 -o 104 --from suspects.csv --by drop

    The table is that of nnunet_ext suspect_labels; remove the lines of labels that are right. The new dataset links to
    all files that do not change, and has the plans and folds of the old one, which is not changed.
    """

    name: ClassVar[str] = "correct_labels"
    has_workers: ClassVar[bool] = True

    d: str
    o: int
    table: Path
    n: str | None = None
    by: str = DROP
    tau: float = 0.9
    classes: list[str] | None = None
    cases: list[str] | None = None
    np: int | None = None
    no_pbar: bool = False

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-d", required=True, help="dataset, number or name")
        add("-o", type=options.whole(1, 999), required=True, help="number of the new dataset, 1 to 999")
        add("-n", help="name of the new dataset [that of the old one]")
        add("--from", dest="table", type=options.file, required=True, metavar="FILE", help="table of suspect_labels")
        text = "drop: suspect cases lose their labels, and their images become unlabelled ones; ignore: confident "
        text += "voxels that differ become ignored; replace: they get the predicted label [drop]"
        add("--by", choices=(DROP, IGNORE, REPLACE), default=cls.by, help=text)
        add("--tau", type=options.real(0, 1), default=cls.tau, help="probability that counts as confident [0.9]")
        add("--classes", nargs="+", metavar="CLASS", help="only these classes [those that the table calls suspect]")
        add("--cases", nargs="+", metavar="CASE", help="only these cases of the table [those with a suspicion of 0.5]")
        add("-np", type=options.whole(1), metavar="N", help="processes, each with a case in memory [usable cores]")
        add("--no_pbar", action="store_true", help="no progress bar")

    def run(self) -> int:
        """Write the new dataset and say what follows."""
        from nnunet_ext.data.raw_dataset import RawDataset
        from nnunet_ext.labels.suspects.record import Record

        if self.by == DROP and self.classes is not None:
            raise UserError("--classes: not with --by drop, which drops whole cases. Leave it out.")
        source = RawDataset.read(folders.dataset("nnUNet_raw", self.d))
        record = Record.read(self.table)
        if record.dataset != source.folder.name:
            raise UserError(
                f"--from {self.table}: expected suspects of {source.folder.name}, found those of {record.dataset}. "
                f"Name that dataset after -d."
            )
        with shown_logs():
            predictions = record.predictions()
        jobs = self._jobs(source, record, predictions)
        place = folders.folder("nnUNet_raw", writable=True)
        with numbers_to_oneself(place):
            new = self._new(source, [case.name for case, _ in jobs] if self.by == DROP else [])
            jobs = [] if self.by == DROP else jobs
            changes = new.write(
                folders.plans(source.folder.name, record.plans), self._correct(new, record, predictions, jobs)
            )
        self._report(new, record, changes)
        return 0

    def _new(self, source: RawDataset, dropped: list[str]) -> CorrectedDataset:
        from nnunet_ext.cli.data.new_dataset import new_dataset_place
        from nnunet_ext.labels.suspects.corrected_dataset import CorrectedDataset

        preprocessed = folders.folder("nnUNet_preprocessed", writable=True)
        place = new_dataset_place(self.o, self.n, source.folder)
        new = CorrectedDataset(source, place, preprocessed / place.name, self.by == IGNORE, dropped)
        new.check()
        return new

    def _jobs(
        self, source: RawDataset, record: Record, predictions: FoldPredictions
    ) -> list[tuple[PredictedCase, tuple[int, ...]]]:
        """The cases to correct, and the labels of their suspect classes."""
        from nnunet_ext.data.classes import foreground_classes
        from nnunet_ext.labels.suspects.table import suspect_classes

        values = foreground_classes(source.description)
        by_name = {case.name: case for case in predictions.cases}
        listed = suspect_classes(self.table, by_name, values, *([] if self.cases is None else [0.0]))
        for option, wanted, legal in (("--cases", self.cases, listed), ("--classes", self.classes, values)):
            if wrong := [name for name in wanted or () if name not in legal]:
                raise UserError(f"{option} {wrong[0]}: not among the suspects. {nearest(wrong[0], legal)}")
        jobs = []
        for name, suspect in listed.items():
            if (self.cases is None or name in self.cases) and (suspect or self.by == DROP):
                record.check(by_name[name])
                own = [values[each] for each in suspect if self.classes is None or each in self.classes]
                flagged = {label for each in own for label in (each if isinstance(each, tuple) else (each,))}
                jobs.append((by_name[name], tuple(sorted(flagged))))
        return jobs

    def _correct(
        self,
        new: CorrectedDataset,
        record: Record,
        predictions: FoldPredictions,
        jobs: list[tuple[PredictedCase, tuple[int, ...]]],
    ) -> Callable[[Path], Changes]:
        """A function that writes the labels into a folder."""
        from tqdm import tqdm

        from nnunet_ext.labels.suspects.corrected_case import Correcting
        from nnunet_ext.processes.cores import usable_cores
        from nnunet_ext.processes.workers import Workers

        def correct(folder: Path) -> Changes:
            correcting = Correcting(
                new.source.description, predictions.plans, record.temperatures, self.tau, new.ignore, folder
            )
            with Workers(min(len(jobs), self.np or usable_cores())) as workers:
                done = workers.each(correcting.write, jobs)
                return dict(tqdm(done, "cases", len(jobs), unit="case", disable=self.no_pbar or not jobs))

        return correct

    def _report(self, new: CorrectedDataset, record: Record, changes: Changes) -> None:
        changed = {case: sum(counts.values()) for case, counts in changes.items() if counts}
        if self.by == DROP:
            print(f"{new.place}: {len(new.dropped)} suspect cases without a label, among the unlabelled images")
        else:
            verb = "ignored" if self.by == IGNORE else "replaced"
            cases = f"{len(changed)} of {len(changes)} suspect cases"
            print(f"{new.place}: {sum(changed.values())} voxels {verb} in {cases}")
        if changed:
            print(f"{new.place / 'changed_voxels.csv'} written")
        number, folds = self.o, " ".join(map(str, record.folds[:1]))
        print(f"Next: nnunet_ext preprocess -d {number} -p {record.plans} -c {record.configuration}")
        print(f"      nnunet_ext train {number} {record.configuration} {folds} -tr {record.trainer} -p {record.plans}")
