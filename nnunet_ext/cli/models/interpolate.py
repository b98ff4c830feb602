"""``nnunet_ext interpolate``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli.common.command import Command
from nnunet_ext.errors import UserError


@dataclass
class Interpolate(Command):
    """Write the model between two models of one network: (1 - weight) OLD + weight NEW (WiSE-FT).

    A class that both have gets the average of its rows in the segmentation heads, matched by name; a class of one
    model keeps that model's row. Stock nnU-Net predicts the result:
    nnunet_ext interpolate OLD NEW --weight 0.5 -o MODEL
    nnUNetv2_predict_from_modelfolder -i imagesTs -o predictions -m MODEL -f 0
    """

    name: ClassVar[str] = "interpolate"

    old: Path
    new: Path
    weight: float
    o: Path
    plans: str

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("old", type=Path, metavar="OLD", help="folder or zip file of the earlier model")
        add("new", type=Path, metavar="NEW", help="folder or zip file of the model that was trained from it")
        add("--weight", type=float, default=0.5, help="share of NEW, from 0 to 1 [0.5]")
        add("-o", type=Path, required=True, metavar="MODEL", help="folder to write")
        add("--plans", choices=("old", "new"), default="new", help="whose plans the model has [new]")

    def run(self) -> int:
        """Write the model."""
        if not 0 <= self.weight <= 1:
            raise UserError(f"--weight: expected a number from 0 to 1, got {self.weight}. Correct it.")
        for model in (self.old, self.new):
            if not model.exists():
                raise UserError(
                    f"{model}: expected the folder or zip file of a model, found nothing. Correct the path."
                )
        from nnunet_ext.export.interpolated_model import write_interpolated

        classes = write_interpolated(self.old, self.new, self.weight, self.o, plans_of_old=self.plans == "old")
        print(f"{self.o} written, with the outputs {', '.join(classes)}. Predict with")
        print(f"nnUNetv2_predict_from_modelfolder -i IMAGES -o PREDICTIONS -m {self.o}")
        return 0
