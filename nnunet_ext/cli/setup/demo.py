"""``nnunet_ext demo``."""

from __future__ import annotations

import argparse
import os
import shlex
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nnunet_ext import sockets
from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.setup.demo_data import bring_data, check_data, start_folder, unseen_cases
from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.errors import UserError, nearest
from nnunet_ext.processes.run_lock import run_lock
from nnunet_ext.stock import folders

if TYPE_CHECKING:
    from nnunet_ext.cli.common.shell import Shell
    from nnunet_ext.cli.setup.demo_report import Report

CONTROL = "NNUNetBaselineTrainer"
PLANNER, PLANS, CONFIGURATION = "LitePlanner", "LitePlans", "3d_fullres"
KNOBS = ("num_val_iterations_per_epoch=8", "optimizer=AdamW", "initial_lr=0.003", "seed=0")


@dataclass
class Demo(Command):
    """Train, predict and evaluate with nnU-Net's own commands, on phantoms or on your data, and draw the result.

    Needs neither GPU nor data. Every command is printed as you would type it. Writes to --out: figure.png,
    training_curve.png, results.md, all of nnU-Net's folders, and a log per command.
    """

    name: ClassVar[str] = "demo"

    trainer: str = "BANetTrainer"
    data: Path | None = None
    out: Path = Path("nnunet_ext_demo")
    epochs: int = 12
    steps: int = 40

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("--trainer", default=cls.trainer, help=f"trainer to compare with {CONTROL} [%(default)s]")
        add("--data", type=options.folder, help="a raw nnU-Net dataset, DatasetXXX_Name; phantoms by default")
        add("--out", type=options.folder_or_new, default=cls.out, help="folder for everything [%(default)s]")
        add("--epochs", type=options.whole(1), default=cls.epochs, help="length of each training [%(default)s]")
        add(
            "--steps",
            type=options.whole(1),
            default=cls.steps,
            help="training steps in an epoch [%(default)s]",
        )

    def run(self) -> int:
        """Run all commands one after the other and write the report."""
        self._check()
        from torch import cuda

        begun = time.monotonic()
        device = "cuda" if cuda.is_available() else "cpu"
        out = self.out.resolve()
        folders.check_writable(out, f"--out {self.out}")
        with run_lock(out, "nnunet_ext demo", say=print):
            return self._demonstrate(out, device, begun)

    def _demonstrate(self, out: Path, device: str, begun: float) -> int:
        from nnunet_ext.cli.common.shell import Shell
        from nnunet_ext.cli.setup.demo_report import Report

        start_folder(out)
        dataset = bring_data(out / "nnUNet_raw", self.data)
        variables = _variables(out, device)
        print(f"Data: {dataset}\nCommands are run with:\n{exports(variables)}")
        shell = Shell({**_environment(variables), "PYTHONUNBUFFERED": "1"}, out / "logs")
        number = str(dataset_number(dataset.name))
        models = {
            trainer: out / "nnUNet_results" / dataset.name / f"{trainer}__{PLANS}__{CONFIGURATION}"
            for trainer in (self.trainer, CONTROL)
        }
        self._train(shell, number, list(models), device)
        unseen = unseen_cases(dataset, out / "nnUNet_preprocessed" / dataset.name / "splits_final.json", out)
        print(f"\nUnseen: {unseen.origin}")
        report = Report(out, models, unseen, device)
        _predict(shell, number, report)
        print(f"\n{report.write()}")
        files = "\n".join(f"  {out / name}" for name in ("figure.png", "training_curve.png", "results.md"))
        print(f"Done in {(time.monotonic() - begun) / 60:.1f} minutes. Look at:\n{files}")
        return 0

    def _train(self, shell: Shell, number: str, trainers: list[str], device: str) -> None:
        knobs = ("--set", f"num_epochs={self.epochs}", f"num_iterations_per_epoch={self.steps}", *KNOBS)
        shell.run(("nnunet_ext", "plan_and_preprocess", "-d", number, "-pl", PLANNER, "-c", CONFIGURATION, *knobs))
        for trainer in trainers:
            words = ("nnUNetv2_train", number, CONFIGURATION, "0", "-tr", trainer, "-p", PLANS, "-device", device)
            shell.run(words, epochs=self.epochs)

    def _check(self) -> None:
        if self.trainer not in (legal := sockets.names("trainers")):
            raise UserError(f"--trainer: unknown trainer {self.trainer!r}. {nearest(self.trainer, legal)}")
        if self.data is not None:
            check_data(self.data, self.out)
        for name in ("epochs", "steps"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name}: expected an integer >= 1, got {getattr(self, name)}.")


def _predict(shell: Shell, number: str, report: Report) -> None:
    """Predict and evaluate the unseen cases with each trainer's model."""
    for trainer in report.models:
        to = str(report.predictions(trainer))
        model = ("-d", number, "-f", "0", "-tr", trainer, "-c", CONFIGURATION, "-p", PLANS)
        in_one_process = ("-npp", "0", "-nps", "0", "-device", report.device)
        shell.run(("nnUNetv2_predict", "-i", str(report.unseen.images), "-o", to, *model, *in_one_process))
        described = ("-djfile", f"{to}/dataset.json", "-pfile", f"{to}/plans.json")
        shell.run(("nnUNetv2_evaluate_folder", str(report.unseen.labels), to, *described))


def _variables(out: Path, device: str) -> dict[str, str]:
    """Return the variables that the commands need beyond those of a fresh shell; PATH is what to put in front of it."""
    variables = {name: str(out / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    variables[sockets.VARIABLE] = str(sockets.folder("trainers"))
    # threads that wait must not spin: with one more process than cores a training step takes five times as long
    variables |= {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    if device == "cuda":
        variables["nnUNet_compile"] = "false"  # compiling takes longer than this short training
    scripts = sysconfig.get_path("scripts")
    if scripts not in os.environ.get("PATH", "").split(os.pathsep):
        variables["PATH"] = scripts
    return variables


def _environment(variables: dict[str, str]) -> dict[str, str]:
    path = [folder for folder in (variables.get("PATH"), os.environ.get("PATH", os.defpath)) if folder]
    return {**os.environ, **variables, "PATH": os.pathsep.join(path)}


def exports(variables: dict[str, str]) -> str:
    """Write variables as a shell reads them; PATH goes before the shell's own."""
    lines = []
    for name, value in variables.items():
        rest = f'{os.pathsep}"$PATH"' if name == "PATH" else ""
        lines.append(f"export {name}={shlex.quote(value)}{rest}")
    return "\n".join(lines)
