"""``nnunet_ext compare``."""

from __future__ import annotations

import argparse
import csv
import os
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nnunet_ext import sockets
from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.packages import need_packages
from nnunet_ext.cli.models.train import Train
from nnunet_ext.comparison.arm import Arm, parse_arms
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import whole_file, write_text
from nnunet_ext.processes.run_lock import run_lock
from nnunet_ext.stock import folders

if TYPE_CHECKING:
    from nnunet_ext.comparison.run import Run
    from nnunet_ext.comparison.setting import Setting
    from nnunet_ext.evaluation.mask_metrics import Metric


@dataclass
class Compare(Command):
    """Train several trainers with the same seeds and steps, score them on the same cases, and write table and figure.

    Each run leaves one small JSON in -o; called again, it skips finished runs and resumes an interrupted training:
    nnunet_ext compare -d 120 -p LitePlans -c 3d_fullres -f all -device cpu -o comparison --seeds 0 1 --epochs 30 -tr
      nnU-Net=NNUNetBaselineTrainer 'one pass=LeFeDTrainer:lefed.passes=1' MeanTeacherTrainer
    """

    name: ClassVar[str] = "compare"
    after_interruption: ClassVar[str] = "Run the same command again to resume."

    d: str
    c: str
    tr: list[str]
    o: Path
    p: str = "nnUNetPlans"
    f: list[str] = field(default_factory=lambda: ["0"])
    seeds: list[int] = field(default_factory=lambda: [0])
    epochs: int | None = None
    iterations: int | None = None
    device: str = "cuda"
    test_images: Path | None = None
    test_labels: Path | None = None
    score: str | None = None
    metrics: str | None = None

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-d", required=True, help="dataset, number or name")
        add("-c", required=True, help="configuration")
        add("-tr", nargs="+", required=True, metavar="TRAINER", help="[NAME=]TRAINER[:KNOB=VALUE+KNOB=VALUE] each")
        add(
            "-o",
            type=options.folder_or_new,
            required=True,
            metavar="FOLDER",
            help="folder for records, table and figure",
        )
        add("-p", default=cls.p, help="plans [%(default)s]")
        add("-f", nargs="+", type=options.fold, default=["0"], metavar="FOLD", help="folds, or all [0]")
        add("--seeds", nargs="+", type=options.whole(0), default=[0], metavar="SEED", help="a run for each [0]")
        add("--epochs", type=options.whole(1), help="epochs of each training [the plans']")
        add("--iterations", type=options.whole(1), help="training steps in an epoch [the plans']")
        add("-device", type=options.device, default=cls.device, help="cuda, cpu or mps [%(default)s]")
        add("--test_images", type=options.folder_or_new, metavar="FOLDER", help="predict and score these")
        add("--test_labels", type=options.folder_or_new, metavar="FOLDER", help="their labels")
        add(
            "--score",
            choices=("test", "hidden_labels", "validation"),
            help="cases to score: those that hide_labels set apart, those whose labels it hid, or the fold's "
            "validation cases [the first of these that exists]",
        )
        add("--metrics", help="scored besides Dice and HD95: nsd@2mm, hd95_area, separated by commas [none]")

    def run(self) -> int:
        """Do all runs that are not done."""
        sockets.open_door()
        runs = self._runs()
        done = [run.finished() for run in runs]
        new = not self.o.exists()
        folders.check_writable(self.o, f"-o {self.o}")
        try:
            with run_lock(self.o, "nnunet_ext compare", say=print):
                self._run(runs, done)
        except UserError:
            if new and not any(self.o.iterdir()):  # refused before anything was done
                self.o.rmdir()
            raise
        return 0

    def _run(self, runs: Sequence[Run], done: Sequence[dict[str, Any] | None]) -> None:
        setting = runs[0].setting
        if not all(done):
            self._prepare(setting, [run for run, record in zip(runs, done, strict=True) if record is None])
        for number, (run, record) in enumerate(zip(runs, done, strict=True), start=1):
            print(f"\nRun {number} of {len(runs)}: {run.title}", flush=True)
            if record is None:
                self._do(run)
            else:
                print(f"  is done: {_result(record)}")
        print(f"\n{self._report()}\n\nLook at {self.o}: results.md, cases.csv, figure.png")

    def _runs(self) -> list[Run]:
        """Return all runs, grouped by seed, so that an early end leaves something to compare."""
        arms = parse_arms(self.tr)
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0 or len(set(self.f)) < len(self.f):
            raise UserError("--seeds, -f: expected each once, and seeds from 0 up, got others. Correct them.")
        for arm in arms:
            self._check_arm(arm)
        from nnunet_ext.comparison.run import Run
        from nnunet_ext.comparison.scored_cases import VALIDATION, ScoredCases
        from nnunet_ext.comparison.setting import Setting

        scored = ScoredCases.find(self.d, self.score, self.test_images, self.test_labels)
        if scored.origin == VALIDATION and "all" in self.f:
            raise UserError(
                "-f all: expected cases to score, as this fold trains on all. Give --test_images and --test_labels."
            )
        steps = {"num_epochs": self.epochs, "num_iterations_per_epoch": self.iterations}
        words = tuple(f"{knob}={value}" for knob, value in steps.items() if value is not None)
        setting = Setting(self.d, self.p, self.c, self.device, self.o, words, scored, self._metrics())
        return [Run(setting, arm, seed, fold) for seed in self.seeds for fold in self.f for arm in arms]

    def _metrics(self) -> tuple[Metric, ...]:
        """What is scored besides Dice and HD95."""
        from nnunet_ext.evaluation.mask_metrics import parse_metrics

        found = () if self.metrics is None else parse_metrics(self.metrics)
        if any(metric.needs_surface_distance for metric in found):
            need_packages(["surface_distance"], "pip install 'nnunet_ext[challenges]', or pip install surface-distance")
        return tuple(metric for metric in found if metric.name not in ("dice", "hd95"))

    def _check_arm(self, arm: Arm) -> None:
        """Refuse what nnU-Net would refuse after hours, and trainers that know no knobs."""
        from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

        from nnunet_ext.base.knobs import parse
        from nnunet_ext.base.trainer import ExtTrainer
        from nnunet_ext.collection.task_table import TaskTable

        try:
            parse(arm.knobs)
        except UserError as error:
            raise UserError(f"-tr {arm.name!r}: {str(error).removeprefix('--set').lstrip(': ')}") from error
        for fold in self.f:
            Train([self.d, self.c, fold, "-tr", arm.trainer, "-p", self.p, "-device", self.device]).check(arm.knobs)
        if TaskTable.read(folders.plans(self.d, self.p)) is not None:
            raise UserError(f"-p {self.p}: expected plans of one dataset, found a collection's. Compare its members.")
        trainer = recursive_find_trainer_class_by_name(arm.trainer)
        if not issubclass(trainer, ExtTrainer):
            raise UserError(
                f"-tr {arm.trainer}: expected a trainer of nnunet_ext, because others take neither seed nor length. "
                f"NNUNetBaselineTrainer is nnU-Net's own trainer with both."
            )
        if not trainer.needs_labels:
            raise UserError(
                f"-tr {arm.trainer}: expected a trainer whose predictions can be scored, found one that segments "
                f"nothing. Compare trainers with the knob init_from set to its checkpoint."
            )

    def _prepare(self, setting: Setting, runs: Sequence[Run]) -> None:
        """Refuse what can be refused before hours of training; then write links and plans."""
        from nnunet_ext.comparison.leakage import check_scored_apart
        from nnunet_ext.comparison.record import check_alike

        for arm, fold in {(run.arm, run.fold) for run in runs}:
            check_scored_apart(setting, arm, fold)
        check_alike(self._records() + [coming for run in runs if (coming := run.to_score()) is not None])
        if setting.scored.cases:
            setting.scored.link_images(self.o / "images")
            setting.scored.check(folders.plans(self.d, self.p))
        for run in runs:
            run.write_plans()

    def _do(self, run: Run) -> None:
        from nnunet_ext.cli.common.shell import Shell

        (self.o / "logs").mkdir(exist_ok=True)
        record = run.do(Shell(_environment(), self.o / "logs" / run.key))
        print(f"  {_result(record)}")
        self._report()

    def _records(self) -> list[dict[str, Any]]:
        """All finished runs in the folder."""
        from nnunet_ext.comparison.record import read_record

        return [read_record(file) for file in sorted((self.o / "runs").glob("*.json"))]

    def _report(self) -> str:
        """Write table, scores and figure of all finished runs in the folder, those of -tr first; return the table."""
        from nnunet_ext.comparison.figure import comparison_figure
        from nnunet_ext.comparison.record import check_alike
        from nnunet_ext.comparison.scores import ComparedRun
        from nnunet_ext.comparison.table import comparison_table

        records = self._records()
        order = list(dict.fromkeys([arm.name for arm in parse_arms(self.tr)] + [record["name"] for record in records]))
        records.sort(key=lambda record: (order.index(record["name"]), record["fold"], record["seed"]))
        check_alike(records)
        compared = [ComparedRun.from_record(record) for record in records]
        text = f"{comparison_table(compared)} {_scored(records)}"
        write_text(self.o / "results.md", f"{text}\n")
        _write_cases(self.o / "cases.csv", records)
        with whole_file(self.o / "figure.png") as partial:
            comparison_figure(compared).savefig(partial, dpi=110, format="png")
        return text


def _result(record: dict[str, Any]) -> str:
    from nnunet_ext.comparison.scores import MEAN, ComparedRun, mean, metrics_of

    run = ComparedRun.from_record(record)
    means = {name: mean(run.values(metric, MEAN).values()) for metric, name in metrics_of([run]).items()}
    return ", ".join(f"{name} {'none' if value is None else f'{value:.3f}'}" for name, value in means.items())


def _scored(records: Sequence[dict[str, Any]]) -> str:
    origins = ", ".join(sorted({record["scored"] for record in records}))
    return f"Last checkpoint, {max(len(record['cases']) for record in records)} cases in a run ({origins})."


def _write_cases(file: Path, records: Sequence[dict[str, Any]]) -> None:
    from nnunet_ext.comparison.scores import ComparedRun, metrics_of

    metrics = metrics_of([ComparedRun.from_record(record) for record in records])
    with whole_file(file) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["name", "fold", "seed", "case", "class", *metrics])
        for record in records:
            head = [record["name"], record["fold"], record["seed"]]
            for case, classes in record["cases"].items():
                table.writerows(
                    [*head, case, name, *(scores[metric] for metric in metrics)] for name, scores in classes.items()
                )


def _environment() -> dict[str, str]:
    """The commands' variables: ours, and nnU-Net's programs on PATH even if this one was called by its full path."""
    path = [sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]
    quiet = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}  # waiting threads must not spin
    return {**quiet, **os.environ, "PATH": os.pathsep.join(path)}
