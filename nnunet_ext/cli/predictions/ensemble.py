"""``nnunet_ext ensemble``."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.output import shown_logs
from nnunet_ext.cli.predictions.case_report import case_report
from nnunet_ext.errors import UserError
from nnunet_ext.sockets import open_door


@dataclass
class Ensemble(Command):
    """Predict with several models at once: the mean of their probabilities, without writing these.

    The models may have other trainers, plans and configurations, but the same labels and channels. The labels are those
    of nnUNetv2_predict --save_probabilities and nnUNetv2_ensemble, but for ties:
    nnunet_ext ensemble results/Dataset004/nnUNetTrainer__nnUNetPlans__3d_fullres ba_net.zip -i imagesTs -o predictions
    """

    name: ClassVar[str] = "ensemble"
    after_interruption: ClassVar[str] = "Run the same command again with --continue_prediction."

    models: list[Path]
    i: Path
    o: Path
    f: list[str] | None
    chk: str
    device: str
    step_size: float
    disable_tta: bool
    continue_prediction: bool
    num_parts: int
    part_id: int
    not_on_device: bool
    disable_progress_bar: bool
    trust: bool

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options; those of nnUNetv2_predict have its names."""
        add = parser.add_argument
        text = "folders TRAINER__PLANS__CONFIGURATION of trained models, or zip files"
        add("models", type=Path, nargs="+", metavar="MODEL", help=text)
        add("-i", type=options.folder, required=True, help="folder of images, named CASE_0000 and so on")
        add("-o", type=options.folder_or_new, required=True, help="folder for the predictions")
        add("-f", nargs="+", type=options.fold, metavar="FOLD", help="folds of each model [all that are trained]")
        add("-chk", default="checkpoint_final.pth", help="checkpoint [checkpoint_final.pth]")
        add("-device", type=options.device, default="cuda", help="cpu, cuda or mps [cuda]")
        add("-step_size", type=options.real(0, 1), default=0.5, help="step of the sliding window, in patches [0.5]")
        add("--disable_tta", action="store_true", help="do not mirror")
        add("--continue_prediction", action="store_true", help="keep label maps that are there")
        add("-num_parts", type=options.whole(1), default=1, help="commands that share the cases [1]")
        add("-part_id", type=options.whole(0), default=0, help="which of them this is, from 0 [0]")
        add("--not_on_device", action="store_true", help="keep sums of logits in the computer's memory, not the GPU's")
        add("--disable_progress_bar", action="store_true", help="show no progress bar")
        add("--trust", action="store_true", help=options.TRUST)

    def run(self) -> int:
        """Predict; 1 if a case failed."""
        open_door()
        for model in self.models:
            if not model.exists():
                raise UserError(f"{model}: expected the folder or the zip file of a trained model, found none.")
        if self.part_id >= self.num_parts:
            raise UserError(
                f"-part_id {self.part_id}: expected less than -num_parts, {self.num_parts}, counted from 0. Correct it."
            )
        import torch

        from nnunet_ext.prediction.ensemble.ensemble_predictor import EnsemblePredictor

        # as nnUNetv2_predict does
        torch.set_num_threads(os.cpu_count() or 1 if self.device == "cpu" else 1)
        with shown_logs():
            predictor = EnsemblePredictor(
                self.models,
                self.f,
                self.chk,
                device=self.device,
                step_size=self.step_size,
                mirroring=not self.disable_tta,
                on_device=not self.not_on_device,
                trust=self.trust,
            )
            results = predictor.predict_folder(
                self.i,
                self.o,
                overwrite=not self.continue_prediction,
                parts=self.num_parts,
                part=self.part_id,
                show_progress=not self.disable_progress_bar,
                record={"models": [str(model) for model in self.models]},
            )
        return case_report(results, str(self.o))
