"""``nnunet_ext task_views``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_object
from nnunet_ext.methods.raters.rater_table import KEY
from nnunet_ext.stock.models import model_folder


@dataclass
class TaskViews(Command):
    """Write the task views of a collection's model: a model folder for each member, with the weights.

    Training writes them when it ends; this command does so for an unfinished training, for an imported model of a
    collection, and for views that were changed or deleted:
    nnunet_ext task_views -d 900 -tr UniSegTrainer -p UniSegPlans

    Of a model with heads for several raters it writes the view of each rater:
    nnunet_ext task_views -d 7 -tr RatersTrainer -p nnUNetPlans
    """

    name: ClassVar[str] = "task_views"

    d: str
    tr: str
    p: str
    c: str
    f: list[str]
    weights: str | None

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add_model(parser)
        parser.add_argument(
            "-f", nargs="+", type=options.fold, default=[], metavar="FOLD", help="folds [all that were trained]"
        )
        parser.add_argument(
            "--weights",
            choices=("own", "links"),
            help="own: files of their own; links: links to the collection's [the knob multi_dataset.view_weights]",
        )

    def run(self) -> int:
        """Write the views."""
        model = model_folder(self.d, self.c, self.tr, self.p)
        of_raters = KEY in read_object(model / "plans.json")
        plans = {} if of_raters else collection_plans(model)
        present = sorted(path.name.removeprefix("fold_") for path in model.glob("fold_*") if path.is_dir())
        for fold in self.f or present:
            if fold not in present:
                raise UserError(
                    f"{model / f'fold_{fold}'}: expected a fold, found none. Trained: {', '.join(present)}."
                )
        if not present:
            raise UserError(f"{model}: expected a fold that was trained, found none. Train first.")
        if of_raters:
            from nnunet_ext.methods.raters.rater_views import write_rater_views

            views = [write_rater_views(model, fold, how=self.weights) for fold in self.f or present][-1]
            print("\n".join(map(str, views)))
            return 0
        from nnunet_ext.base.knobs import resolve
        from nnunet_ext.collection.prediction.task_views import check_same_tasks, write_views
        from nnunet_ext.collection.prediction.view_weights import WEIGHTS, disk_cost

        for file in (model / f"fold_{fold}" / name for fold in self.f or present for name in WEIGHTS):
            if file.is_file():
                check_same_tasks(plans, file)
        how = self.weights or resolve(plans, self.c)["multi_dataset"]["view_weights"]
        for fold in self.f or present:
            views = write_views(plans, self.tr, self.c, fold, how=how)
        print("\n".join(map(str, views)))
        weights = [model / f"fold_{fold}" / name for fold in self.f or present for name in WEIGHTS]
        print(disk_cost([file.stat().st_size for file in weights if file.is_file()], len(views), how, model))
        return 0


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declare the options that name a collection's model."""
    add = parser.add_argument
    add("-d", required=True, help="collection, number or name")
    add("-tr", default="UniSegTrainer", help="trainer [UniSegTrainer]")
    add("-p", default="UniSegPlans", help="plans of the collection [UniSegPlans]")
    add("-c", default="3d_fullres", help="configuration; collections have one [3d_fullres]")


def collection_plans(model: Path) -> dict[str, Any]:
    """Return the plans of a collection's model.

    Raises:
        UserError: The model is that of one dataset, or of one task.
    """
    from nnunet_ext.collection.task_table import TaskTable

    plans = read_object(model / "plans.json")
    table = TaskTable.read(plans)
    if table is None or table.bound is not None:
        what = "one of an ordinary dataset" if table is None else f"the view of task {table.bound!r}"
        remedy = "" if table is None else f" Give -d {dataset_number(table.collection)}."
        raise UserError(f"{model}: expected a collection's model, found {what}.{remedy or ' Give another -d.'}")
    return plans
