"""``nnunet_ext import_v1``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.errors import UserError
from nnunet_ext.sockets import open_door

HEAD = ("setting", "value", "from")
TITLES = {"ba_net": "BANet", "uniseg": "UniSeg", "nnunet": "nnUNet"}


@dataclass
class ImportV1(Command):
    """Write a model that was trained with nnU-Net v1 as one that nnUNetv2_predict takes.

    nnunet_ext import_v1 --method ba_net v1/fold_0/model_final_checkpoint.model v1/plans.pkl -d 60 -n Kidney
    nnunet_ext import_v1 --method uniseg uniseg.model -d 900 -n UniSeg --task liver lung
    """

    name: ClassVar[str] = "import_v1"
    after_interruption: ClassVar[str] = "Run the same command again; nothing was written."

    checkpoint: Path
    plans: Path | None
    method: str
    d: int | None
    n: str | None
    o: Path | None
    labels: list[str] | None
    dataset_json: Path | None
    channels: list[str] | None
    tasks: Path | None
    task: list[str]
    mirror_axes: list[int] | None
    trust: bool
    no_pbar: bool

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("checkpoint", type=Path, metavar="CHECKPOINT", help="v1 checkpoint, or the folder of a v1 model")
        add("plans", type=options.file, nargs="?", metavar="PLANS", help="v1's plans.pkl [that of the model]")
        add("--method", required=True, help="ba_net, uniseg or nnunet, the method on nnU-Net v1")
        add("-d", type=options.whole(1, 999), help="number of the dataset; uniseg: of the collection, tasks follow it")
        add("-n", help="name of the dataset, as Kidney in Dataset060_Kidney")
        add("-o", type=options.folder_or_new, metavar="FOLDER", help="model folder to write, not in nnUNet_results")
        add("--labels", nargs="+", metavar="CLASS", help="names of the classes, background first")
        add("--dataset_json", type=options.file, metavar="FILE", help="a dataset.json with labels, also regions")
        add("--channels", nargs="+", metavar="NAME", help="names of the image channels [those of the plans]")
        add("--tasks", type=options.file, metavar="FILE", help="uniseg: JSON that describes tasks [the authors' 11]")
        add("--task", nargs="+", default=[], metavar="TASK", help="uniseg: tasks to write, names or numbers [all]")
        add("--mirror_axes", nargs="*", type=options.whole(0, 2), help="axes of mirroring [as stored, else all]")
        add("--trust", action="store_true", help=options.TRUST)
        add("--no_pbar", action="store_true", help="no progress bar")

    def run(self) -> int:
        """Write the model, and print what was decided."""
        self._check_options()
        open_door()
        from nnunet_ext.evaluation.markdown_table import markdown_table
        from nnunet_ext.import_v1.one_model import import_one
        from nnunet_ext.import_v1.target import Target
        from nnunet_ext.import_v1.task_models import import_tasks
        from nnunet_ext.import_v1.v1_method import V1Method
        from nnunet_ext.import_v1.v1_model import V1Model

        method = V1Method.named(self.method)
        target = Target.of(self.d, self.n, self.o, TITLES[self.method])
        show = not self.no_pbar
        source = V1Model.read(method, self.checkpoint, self.plans, trust=self.trust)
        if self.method == "uniseg":
            written, decisions = import_tasks(
                source,
                target,
                tasks=self.tasks,
                chosen=self.task,
                mirror_axes=self.mirror_axes,
                show_progress=show,
            )
        else:
            place, decisions = import_one(
                source,
                target,
                labels=self.labels,
                dataset_json=self.dataset_json,
                channels=self.channels,
                mirror_axes=self.mirror_axes,
                show_progress=show,
            )
            written = [place]
        print(markdown_table([HEAD, *decisions]))
        folds = " ".join(source.checkpoints)
        for place in written:
            print(f"{place} written. Predict with nnUNetv2_predict_from_modelfolder -m {place} -f {folds}")
        return 0

    def _check_options(self) -> None:
        """Refuse options of other methods."""
        several = self.method == "uniseg"
        wrong = {
            "--labels": self.labels is not None and several,
            "--dataset_json": self.dataset_json is not None and several,
            "--channels": self.channels is not None and several,
            "--tasks": self.tasks is not None and not several,
            "--task": bool(self.task) and not several,
        }
        for option, is_wrong in wrong.items():
            if is_wrong:
                remedy = "Describe classes and channels of every task with --tasks" if several else f"Drop {option}"
                raise UserError(f"{option}: expected another --method than {self.method}. {remedy}.")
        if self.labels is not None and self.dataset_json is not None:
            raise UserError("--labels and --dataset_json: expected one of both, got both. Drop one.")
