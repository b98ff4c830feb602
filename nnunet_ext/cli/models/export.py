"""``nnunet_ext export``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.output import shown_logs
from nnunet_ext.data.plans_file import check_plans_name
from nnunet_ext.errors import UserError
from nnunet_ext.stock.folders import check_writable
from nnunet_ext.stock.models import check_folds, model_folder


@dataclass
class Export(Command):
    """Write a trained model and a model card as a zip file, which stock nnU-Net imports where it knows the network.

    Nothing in it names a path or a case:
    nnunet_ext export -d 4 -c 3d_fullres -tr FineTuneTrainer -p FineTunePlans -f 0 -o hippocampus.zip --card CARD.md
    nnUNetv2_install_pretrained_model_from_zip hippocampus.zip
    """

    name: ClassVar[str] = "export"
    after_interruption: ClassVar[str] = "Run the same command again; it starts from the beginning."

    d: str
    c: str
    tr: str
    p: str
    f: list[str]
    chk: str
    o: Path
    plans_name: str | None
    card: Path | None

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options; those that nnUNetv2_export_model_to_zip has as well have its names."""
        add = parser.add_argument
        add("-d", required=True, help="dataset, number or name")
        add("-c", required=True, help="configuration")
        add("-tr", default="nnUNetTrainer", help="trainer [nnUNetTrainer]")
        add("-p", default="nnUNetPlans", help="plans [nnUNetPlans]")
        add("-f", nargs="+", type=options.fold, default=[], metavar="FOLD", help="folds [all that were trained]")
        add("-chk", default="checkpoint_final.pth", help="checkpoint [checkpoint_final.pth]")
        add("-o", type=options.new_or_file, required=True, metavar="MODEL.zip", help="zip file to write")
        add("--as", dest="plans_name", metavar="NAME", help="name of the plans in the zip file [that after -p]")
        add("--card", type=options.new_or_file, metavar="FILE", help="also write the model card here")

    def run(self) -> int:
        """Write the files."""
        if self.o.suffix.lower() != ".zip":
            raise UserError(f"-o {self.o}: expected a name that ends in .zip, got another. Add .zip.")
        if self.plans_name is not None:
            check_plans_name(self.plans_name)
        model = model_folder(self.d, self.c, self.tr, self.p)
        folds = self._folds(model)
        for option, file in (("-o", self.o), ("--card", self.card)):
            if file is not None:
                check_writable(file.parent, f"{option} {file}")
        from nnunet_ext.export.model_archive import export_model

        with shown_logs():
            made = export_model(model, self.o, folds, self.chk, plans_name=self.plans_name, card=self.card)
        print(f"{self.o} written: {made.name}, folds {', '.join(made.folds)}")
        print(f"Left out: {'; '.join(sorted(made.content.left_out)) or 'nothing'}")
        if made.reason is None:
            print(f"Stock nnU-Net imports it: nnUNetv2_install_pretrained_model_from_zip {self.o}")
        else:
            print(f"Not a network of stock nnU-Net: who predicts with it needs nnunet_ext. ({made.reason})")
        print("Fill in intended use and licence in the model card before you hand it over.")
        return 0

    def _folds(self, model: Path) -> list[str]:
        from nnunet_ext.prediction.trained_model import trained_folds

        folds = list(dict.fromkeys(self.f)) or trained_folds(model, self.chk)
        if not folds:
            raise UserError(f"{model}: expected a fold with {self.chk}, found none. Finish a training, or give -chk.")
        check_folds(model, folds, self.chk)
        return folds
