"""``nnunet_ext predict_onnx``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.output import shown_logs
from nnunet_ext.cli.common.packages import need_packages
from nnunet_ext.stock.folders import check_writable

PACKAGES = ("numpy", "scipy", "SimpleITK", "onnxruntime", "tqdm")


@dataclass
class PredictOnnx(Command):
    """Predict images with a model that export_onnx wrote; torch and nnU-Net need not be installed.

    nnunet_ext predict_onnx -i imagesTs -o predictions -m hippocampus
    """

    name: ClassVar[str] = "predict_onnx"
    after_interruption: ClassVar[str] = "Run the same command again with --continue_prediction to go on."

    i: Path
    o: Path
    m: Path
    f: list[str]
    step_size: float | None
    disable_tta: bool
    continue_prediction: bool
    threads: int | None
    disable_progress_bar: bool
    verbose: bool

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options; those that nnUNetv2_predict has as well have its names."""
        add = parser.add_argument
        add("-i", type=options.folder, required=True, metavar="IMAGES", help="folder of images, named CASE_0000 ...")
        add("-o", type=options.folder_or_new, required=True, metavar="OUTPUT", help="folder for the predictions")
        add("-m", type=options.folder, required=True, metavar="FOLDER", help="the exported model")
        add("-f", nargs="+", type=options.fold, default=[], metavar="FOLD", help="folds [all that were exported]")
        add("-step_size", type=options.real(0, 1), help="step of the sliding window, in patches [0.5]")
        add("--disable_tta", action="store_true", help="do not mirror")
        add("--continue_prediction", action="store_true", help="keep label maps that are there")
        add("-threads", type=options.whole(1), metavar="N", help="threads of the network [one for each core]")
        add("--disable_progress_bar", action="store_true", help="show no progress bar")
        add("--verbose", action="store_true", help="show the traceback of a case that fails")

    def run(self) -> int:
        """Predict; 1 if a case failed."""
        need_packages(PACKAGES, f"pip install {' '.join(PACKAGES)}")
        check_writable(self.o, f"-o {self.o}")
        from nnunet_ext.onnx_runner.predictor import OnnxPredictor

        predictor = OnnxPredictor(
            self.m,
            self.f or None,
            step_size=self.step_size,
            mirroring=not self.disable_tta,
            threads=self.threads,
        )
        with shown_logs(verbose=self.verbose):
            done, problems = predictor.predict_folder(
                self.i,
                self.o,
                overwrite=not self.continue_prediction,
                show_progress=not self.disable_progress_bar,
            )
        print(f"{len(done)} case{'s' * (len(done) != 1)} predicted in {self.o}")
        if not problems:
            return 0
        print(f"{len(problems)} case{'s' * (len(problems) > 1)} not predicted:", file=sys.stderr)
        for name, problem in problems.items():
            print(f"{name}: {problem}", file=sys.stderr)
        return 1
