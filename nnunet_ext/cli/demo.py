"""``nnunet_ext demo``."""

from __future__ import annotations

import argparse
import os
import shlex
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nnunet_ext import sockets
from nnunet_ext.base.nearest import nearest
from nnunet_ext.cli.command import Command
from nnunet_ext.cli.demo_data import bring_data, start_folder, unseen_cases
from nnunet_ext.errors import UserError

CONTROL = "NNUNetBaselineTrainer"
PLANNER, PLANS, CONFIGURATION = "LitePlanner", "LitePlans", "3d_fullres"
KNOBS = ("num_val_iterations_per_epoch=8", "optimizer=AdamW", "initial_lr=0.003", "seed=0")


@dataclass
class Demo(Command):
    """Train, predict and evaluate with nnU-Net's own commands, on phantoms or on your data, and draw the result.

    Needs neither GPU nor data. Every command is printed as you would type it. Leaves in --out: figure.png,
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
        add("--trainer", default=cls.trainer, help=f"is compared with {CONTROL} (default: %(default)s)")
        add("--data", type=Path, help="a raw nnU-Net data set, DatasetXXX_Name; phantoms by default")
        add("--out", type=Path, default=cls.out, help="folder for everything (default: %(default)s)")
        add("--epochs", type=int, default=cls.epochs, help="length of each training (default: %(default)s)")
        add("--steps", type=int, default=cls.steps, help="training steps in an epoch (default: %(default)s)")

    def run(self) -> int:
        """Run all commands one after the other and write the report."""
        self._check()
        from torch import cuda

        from nnunet_ext.cli.demo_report import Report
        from nnunet_ext.cli.shell import Shell

        begun = time.monotonic()
        device = "cuda" if cuda.is_available() else "cpu"
        out = self.out.resolve()
        start_folder(out, self.data)
        dataset = bring_data(out / "nnUNet_raw", self.data)
        (out / "logs").mkdir()
        variables = self._variables(out, device)
        print(f"Data: {dataset}\nCommands are run with:\n{exports(variables)}")
        shell = Shell({**os.environ, **variables, "PYTHONUNBUFFERED": "1"}, out / "logs")
        number = dataset.name[7:10].lstrip("0") or "0"
        common = ("-c", CONFIGURATION, "-p", PLANS)
        trainers = list(dict.fromkeys((self.trainer, CONTROL)))

        knobs = ("--set", f"num_epochs={self.epochs}", f"num_iterations_per_epoch={self.steps}", *KNOBS)
        shell.run(("nnunet_ext", "plan_and_preprocess", "-d", number, "-pl", PLANNER, "-c", CONFIGURATION, *knobs))
        for trainer in trainers:
            training = ("nnUNetv2_train", number, CONFIGURATION, "0", "-tr", trainer, "-p", PLANS, "-device", device)
            shell.run(training, epochs=self.epochs)
        unseen = unseen_cases(dataset, out / "nnUNet_preprocessed" / dataset.name / "splits_final.json", out)
        results = out / "nnUNet_results" / dataset.name
        report = Report(out, {t: results / f"{t}__{PLANS}__{CONFIGURATION}" for t in trainers}, unseen, device)
        print(f"\nUnseen: {unseen.origin}")
        for trainer in trainers:
            to = str(report.predictions(trainer))
            model = ("-d", number, "-f", "0", "-tr", trainer, *common)
            one_process = ("-npp", "0", "-nps", "0", "-device", device)
            shell.run(("nnUNetv2_predict", "-i", str(unseen.images), "-o", to, *model, *one_process))
            described = ("-djfile", f"{to}/dataset.json", "-pfile", f"{to}/plans.json")
            shell.run(("nnUNetv2_evaluate_folder", str(unseen.labels), to, *described))
        print(f"\n{report.write()}")
        files = "\n".join(f"  {out / name}" for name in ("figure.png", "training_curve.png", "results.md"))
        print(f"Done in {(time.monotonic() - begun) / 60:.1f} minutes. Look at:\n{files}")
        return 0

    def _check(self) -> None:
        if self.trainer not in (legal := sockets.names("trainers")):
            raise UserError(f"--trainer: unknown trainer {self.trainer!r}. {nearest(self.trainer, legal)}")
        for name in ("epochs", "steps"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name}: expected an integer >= 1, got {getattr(self, name)}.")

    @staticmethod
    def _variables(out: Path, device: str) -> dict[str, str]:
        """Variables that the commands need beyond those of a fresh shell."""
        variables = {name: str(out / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        variables[sockets.VARIABLE] = str(sockets.folder("trainers"))
        # threads that wait must not spin: with one more process than cores a training step takes five times as long
        variables |= {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "2", "OMP_WAIT_POLICY": "PASSIVE"}
        if device == "cuda":
            variables["nnUNet_compile"] = "false"  # compiling takes longer than this short training
        scripts = sysconfig.get_path("scripts")
        if scripts not in os.environ.get("PATH", "").split(os.pathsep):
            variables["PATH"] = os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)])
        return variables


def exports(variables: dict[str, str]) -> str:
    """Write variables as a shell reads them."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
