"""``nnunet_ext predict_tasks``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.output import shown_logs
from nnunet_ext.cli.models.task_views import add_model, collection_plans
from nnunet_ext.errors import UserError
from nnunet_ext.sockets import open_door
from nnunet_ext.stock import folders
from nnunet_ext.stock.entry_points import check_device
from nnunet_ext.stock.lookup import check_trainer
from nnunet_ext.stock.models import check_folds, model_folder

if TYPE_CHECKING:
    from nnunet_ext.collection.prediction.tasks_predictor import FailedCase, TasksPredictor
    from nnunet_ext.collection.prediction.viewed_task import ViewedTask


@dataclass
class PredictTasks(Command):
    """Predict images for all tasks of a collection that take them, in one pass.

    Writes OUTPUT/<task>/<case>, with the labels that nnUNetv2_predict writes for the task's view. --merge also writes
    OUTPUT/merged, one label map by a list of priorities, the highest first:
    nnunet_ext predict_tasks -d 900 -i images -o predictions -f 0 --merge liver:tumour liver:liver spleen
    """

    name: ClassVar[str] = "predict_tasks"
    has_workers: ClassVar[bool] = True

    d: str
    i: Path
    o: Path
    tr: str
    p: str
    c: str
    f: list[str]
    chk: str
    tasks: list[str]
    merge: list[str]
    device: str
    step_size: float
    npp: int
    nps: int
    disable_tta: bool
    disable_progress_bar: bool
    no_check: bool
    continue_prediction: bool
    num_parts: int
    part_id: int
    not_on_device: bool
    heads_at_once: int | None

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options; those of nnUNetv2_predict have its names and defaults."""
        add_model(parser)
        add = parser.add_argument
        add("-i", type=options.folder, required=True, help="folder of images, named CASE_0000 and so on")
        add("-o", type=options.folder_or_new, required=True, help="folder for the predictions")
        add(
            "-f",
            nargs="+",
            type=options.fold,
            default=["0", "1", "2", "3", "4"],
            metavar="FOLD",
            help="folds [0 1 2 3 4]",
        )
        add("-chk", default="checkpoint_final.pth", help="checkpoint [checkpoint_final.pth]")
        add("--tasks", nargs="+", default=[], metavar="TASK", help="tasks [all that take the images]")
        add("--merge", nargs="+", default=[], metavar="TASK[:LABEL]", help="labels of one merged map, highest first")
        add("-device", default="cuda", type=options.device, help="cpu, cuda or mps [cuda]")
        add("-step_size", type=options.real(0, 1), default=0.5, help="step of the sliding window, in patches [0.5]")
        add("-npp", type=options.whole(0), default=3, help="0: do not read ahead [3]")
        add("-nps", type=options.whole(0), default=3, help="0: do not write in the background [3]")
        add("--disable_tta", action="store_true", help="do not mirror")
        add("--disable_progress_bar", action="store_true", help="show no progress bar")
        add("--continue_prediction", action="store_true", help="keep existing predictions")
        add("-num_parts", type=options.whole(1), default=1, help="number of commands that share the images [1]")
        add("-part_id", type=options.whole(0), default=0, help="the share of this command, from 0 [0]")
        add("--not_on_device", action="store_true", help="keep sums of logits in the computer's memory, not the GPU's")
        add("-heads_at_once", type=options.whole(1), metavar="N", help="classes per pass [as many as fit the memory]")
        add("--no_check", action="store_true", help="do not read all images first, but check each when it is its turn")

    def run(self) -> int:
        """Predict."""
        open_door()
        check_trainer(self.tr)
        check_device(self.device)
        self._check_part()
        model = model_folder(self.d, self.c, self.tr, self.p)
        tasks = self._tasks(model)
        from nnunet_ext.collection.prediction.channel_names import differing_channel_names
        from nnunet_ext.collection.prediction.image_folder import ImageFolder
        from nnunet_ext.collection.prediction.merge import Merge
        from nnunet_ext.collection.prediction.task_views import check_same_tasks

        images = ImageFolder.read(self.i, tasks)
        tasks = images.fitting(tasks, named=bool(self.tasks))
        warning = differing_channel_names({task.task.name: task.dataset_json for task in tasks})
        if warning is not None:
            print(warning, file=sys.stderr)
        merge = Merge.parse(self.merge, {task.task.name: task.dataset_json for task in tasks}) if self.merge else None
        check_folds(model, self.f, self.chk)
        for fold in self.f:
            check_same_tasks(collection_plans(model), model / f"fold_{fold}" / self.chk)
        folders.check_writable(self.o, f"-o {self.o}")
        cases = images.cases()[self.part_id :: self.num_parts]
        if not self.no_check:
            images.check(tasks, show_progress=not self.disable_progress_bar)
        with shown_logs():
            failed = self._predictor(model).predict_tasks(
                cases,
                tasks,
                self.o,
                heads_at_once=self.heads_at_once,
                overwrite=not self.continue_prediction,
                check=self.no_check,
                read_ahead=self.npp > 0,
                write_behind=self.nps > 0,
                show_progress=not self.disable_progress_bar,
            )
        if merge is not None:
            merged = {label.task for label in merge.labels}
            lost = {each.name for each in failed if merged & set(each.tasks)}
            reader = tasks[0].plans_manager.image_reader_writer_class()
            merge.write(self.o, [case.name for case in cases if case.name not in lost], images.ending, reader)
        done = len(cases) - len({each.name for each in failed})
        print(f"{done} case{'s' * (done != 1)}: {', '.join(task.task.name for task in tasks)} in {self.o}")
        return _report(failed)

    def _check_part(self) -> None:
        if self.part_id >= self.num_parts:
            raise UserError(
                f"-part_id {self.part_id} -num_parts {self.num_parts}: expected a part from 0 to -num_parts - 1. Give "
                f"each of N commands -num_parts N and a -part_id of its own."
            )

    def _tasks(self, model: Path) -> list[ViewedTask]:
        """Return the tasks asked for, or all, as their views describe them."""
        from nnunet_ext.collection.prediction.task_views import view_folder
        from nnunet_ext.collection.prediction.viewed_task import ViewedTask
        from nnunet_ext.collection.task_table import TaskTable

        table = TaskTable.read(collection_plans(model))
        assert table is not None
        names = dict.fromkeys(self.tasks or [task.name for task in table.tasks])
        tasks = [table.tasks[table.index(name)] for name in names]
        results = folders.folder("nnUNet_results")
        views = [view_folder(results, task, table.collection, self.tr, self.p, self.c) for task in tasks]
        return [ViewedTask.read(table, task.name, view, self.c) for task, view in zip(tasks, views, strict=True)]

    def _predictor(self, model: Path) -> TasksPredictor:
        import torch

        from nnunet_ext.collection.prediction.tasks_predictor import TasksPredictor

        # as nnUNetv2_predict does
        torch.set_num_threads(os.cpu_count() or 1 if self.device == "cpu" else 1)
        return TasksPredictor(
            model,
            self.f,
            self.chk,
            device=self.device,
            step_size=self.step_size,
            mirroring=not self.disable_tta,
            on_device=not self.not_on_device,
        )


def _report(failed: Sequence[FailedCase]) -> int:
    """List what was not predicted; return the exit code."""
    if not failed:
        return 0
    names = len({each.name for each in failed})
    print(f"{names} case{'s' * (names > 1)} not predicted:", file=sys.stderr)
    for each in failed:
        print(f"{each.name}, {', '.join(each.tasks)}: {each.problem}", file=sys.stderr)
    return 1
