"""``nnunet_ext export_onnx``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.output import shown_logs
from nnunet_ext.cli.common.packages import need_packages
from nnunet_ext.sockets import open_door
from nnunet_ext.stock.folders import check_writable

PACKAGES = ("onnx", "onnxscript", "onnxruntime", "SimpleITK")


@dataclass
class ExportOnnx(Command):
    """Write a trained model in the ONNX format, for predictions without torch and nnU-Net.

    nnunet_ext export_onnx nnUNet_results/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres -o hippocampus
    """

    name: ClassVar[str] = "export_onnx"
    after_interruption: ClassVar[str] = "Run the same command again; it starts from the beginning."

    model: Path
    o: Path
    f: list[str]
    chk: str
    trust: bool

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options; those that nnUNetv2_predict has as well have its names."""
        add = parser.add_argument
        add("model", metavar="MODEL", type=Path, help="folder TRAINER__PLANS__CONFIGURATION, or a zip file of a model")
        add("-o", type=options.folder_or_new, required=True, metavar="FOLDER", help="folder to write")
        add("-f", nargs="+", type=options.fold, default=[], metavar="FOLD", help="folds [all that were trained]")
        add("-chk", default="checkpoint_final.pth", help="checkpoint [checkpoint_final.pth]")
        add("--trust", action="store_true", help=options.TRUST)

    def run(self) -> int:
        """Export."""
        need_packages(PACKAGES, "pip install 'nnunet_ext[onnx]'")
        open_door()
        check_writable(self.o, f"-o {self.o}")
        from nnunet_ext.export.onnx_model import export_onnx

        with shown_logs():
            made = export_onnx(self.model, self.o, self.f or None, self.chk, trust=self.trust)
        count = len(made.networks)
        print(f"{count} fold{'s' * (count > 1)} written. nnunet_ext predict_onnx -i IMAGES -o OUTPUT -m {self.o}")
        return 0
