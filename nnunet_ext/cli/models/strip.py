"""``nnunet_ext strip``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.data.plans_file import check_plans_name
from nnunet_ext.errors import UserError
from nnunet_ext.processes.run_lock import run_lock
from nnunet_ext.stock.lookup import ext_trainer
from nnunet_ext.stock.models import check_folds, model_folder

WAIT = 60.0  # seconds for another one


@dataclass
class Strip(Command):
    """Write a trained LeFeD or MC-Net+ as a stock nnU-Net model, without what only training needs.

    It predicts the same labels, takes less disk space and works without this package:
    nnunet_ext strip -d 7 -c 3d_fullres -tr LeFeDTrainer -f 0
    nnUNetv2_predict -d 7 -c 3d_fullres -tr nnUNetTrainer -p nnUNetPlansLeFeD -f 0 -i ... -o ...
    """

    name: ClassVar[str] = "strip"

    d: str
    c: str
    tr: str
    p: str
    f: list[str]
    chk: str
    plans_name: str | None

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-d", required=True, help="dataset, number or name")
        add("-c", required=True, help="configuration")
        add("-tr", default="LeFeDTrainer", help="trainer [LeFeDTrainer]")
        add("-p", default="nnUNetPlans", help="plans [nnUNetPlans]")
        add("-f", nargs="+", type=options.fold, default=[], metavar="FOLD", help="folds [all that were trained]")
        add("-chk", default="checkpoint_final.pth", help="checkpoint [checkpoint_final.pth]")
        add("--as", dest="plans_name", metavar="NAME", help="plans name of the new model [-p and the method's name]")

    def run(self) -> int:
        """Write the model."""
        model = model_folder(self.d, self.c, self.tr, self.p)
        folds = self.f or sorted(file.parent.name.removeprefix("fold_") for file in model.glob(f"fold_*/{self.chk}"))
        if not folds:
            raise UserError(f"{model}: expected a fold with {self.chk}, found none. Finish a training, or give -chk.")
        check_folds(model, folds, self.chk)
        name = self.plans_name or f"{self.p}{self.tr.removesuffix('Trainer')}"
        check_plans_name(name)
        kind = ext_trainer(self.tr)
        if kind is None:
            raise UserError(f"-tr: expected a trainer of nnunet_ext, got {self.tr!r}, which needs no stripping.")
        from nnunet_ext.export.stock_model import TRAINER, strip

        with run_lock(model.parent, "stripping a model", wait=WAIT):
            target = strip(model, kind, folds, self.chk, name)
        print(
            f"{target} written. Predict with nnUNetv2_predict -tr {TRAINER} -p {name} -c {self.c} -f {' '.join(folds)}"
        )
        return 0
