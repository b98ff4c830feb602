"""``nnunet_ext export_backbone``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.models.task_views import add_model
from nnunet_ext.errors import UserError
from nnunet_ext.stock import folders
from nnunet_ext.stock.models import check_folds, model_folder


@dataclass
class ExportBackbone(Command):
    """Write the U-Net inside a UniSeg model as a checkpoint for nnUNetv2_train ... -pretrained_weights.

    For example, to train plain nnU-Net on one-channel images from it:
    nnunet_ext export_backbone -d 900 -f 0 --channels 1 -o backbone.pth
    """

    name: ClassVar[str] = "export_backbone"

    d: str
    tr: str
    p: str
    c: str
    f: str
    chk: str
    channels: int
    o: str

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add_model(parser)
        add = parser.add_argument
        add("-f", type=options.fold, required=True, metavar="FOLD", help="fold")
        add("--channels", type=options.whole(1), required=True, help="number of image channels of the network to train")
        add("-o", type=options.new_or_file, required=True, metavar="FILE", help="checkpoint to write")
        add("-chk", default="checkpoint_final.pth", help="checkpoint to export [checkpoint_final.pth]")

    def run(self) -> int:
        """Write the checkpoint."""
        model = model_folder(self.d, self.c, self.tr, self.p)
        check_folds(model, [self.f], self.chk)
        target = Path(self.o)
        if target.exists():
            raise UserError(f"-o {self.o}: expected no such file yet, found one. Choose another.")
        folders.check_writable(target.parent, f"-o {self.o}")
        from nnunet_ext.methods.uniseg.backbone import export_backbone

        export_backbone(model / f"fold_{self.f}" / self.chk, target, self.channels)
        print(f"{target} written. Train with nnUNetv2_train ... -pretrained_weights {target}")
        return 0
