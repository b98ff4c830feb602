"""``nnunet_ext predict``."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.output import shown_logs
from nnunet_ext.cli.predictions import predict_adapted, predict_structures
from nnunet_ext.cli.predictions.case_report import case_report
from nnunet_ext.cli.predictions.predict_dicom import add_dicom_arguments, predict_dicom, wants_dicom
from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_object
from nnunet_ext.sockets import open_door
from nnunet_ext.stock import folders
from nnunet_ext.stock.entry_points import check_device, run_stock
from nnunet_ext.stock.lookup import check_trainer
from nnunet_ext.stock.models import check_folds, model_folder

logger = logging.getLogger(__name__)
NO_CHECK, STOCK, FAST, TRUST, NO_MIRRORING = "--no_check", "--stock", "--fast", "--trust", "--disable_tta"
OURS = (NO_CHECK, STOCK, TRUST)  # unknown to nnUNetv2_predict
DEFAULT_FOLDS = ["0", "1", "2", "3", "4"]


@dataclass
class Predict(Command):
    """Predict with any nnU-Net model: the same labels as nnUNetv2_predict, in less time and memory.

    It takes the options of nnUNetv2_predict:
    nnunet_ext predict -i imagesTs -o predictions -d 4 -c 3d_fullres -tr BANetTrainer -f 0
    nnunet_ext predict --dicom exported_series -o segmentations -m model.zip
    """

    name: ClassVar[str] = "predict"
    has_workers: ClassVar[bool] = True

    words: list[str]
    i: str | None
    o: str | None
    d: str | None
    c: str | None
    p: str
    tr: str
    f: list[str]
    chk: str
    step_size: float
    disable_tta: bool
    verbose: bool
    save_probabilities: bool
    continue_prediction: bool
    npp: int
    nps: int
    prev_stage_predictions: str | None
    num_parts: int
    part_id: int
    device: str
    disable_progress_bar: bool
    not_on_device: bool
    no_check: bool
    stock: bool
    fast: bool
    trust: bool
    missing_channel: list[str]
    structures: str | None
    adapt: str | None
    adapt_steps: int | None
    dicom: list[str] | None
    series: list[str] | None
    orientation: str | None
    m: str | None

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options; those of nnUNetv2_predict have its names and defaults."""
        add = parser.add_argument
        add("-i", help="folder of images, named CASE_0000 and so on")
        add("-o", help="folder for the predictions")
        add("-d", help="dataset: number or name")
        add("-c", help="configuration, such as 3d_fullres")
        add("-p", default="nnUNetPlans", help="plans [nnUNetPlans]")
        add("-tr", default="nnUNetTrainer", help="trainer [nnUNetTrainer]")
        add("-f", nargs="+", type=options.fold, default=DEFAULT_FOLDS, metavar="FOLD", help="folds [0 1 2 3 4]")
        add("-chk", default="checkpoint_final.pth", help="checkpoint [checkpoint_final.pth]")
        add("-step_size", type=options.real(0, 1), default=0.5, help="step of the sliding window, in patches [0.5]")
        add(NO_MIRRORING, action="store_true", help="do not mirror")
        add("--verbose", action="store_true", help="show the traceback of a case that fails")
        add("--save_probabilities", action="store_true", help="also write probabilities; nnU-Net predicts")
        add("--continue_prediction", action="store_true", help="keep label maps that are there")
        add("-npp", type=options.whole(0), default=_workers("nnUNet_npp"), help="0: do not read ahead [3]")
        add("-nps", type=options.whole(0), default=_workers("nnUNet_nps"), help="0: do not write in the background [3]")
        add("-prev_stage_predictions", help="folder, for a cascade; nnU-Net predicts")
        add("-num_parts", type=options.whole(1), default=1, help="commands that share the cases [1]")
        add("-part_id", type=options.whole(0), default=0, help="which of them this is, from 0 [0]")
        add("-device", type=options.device, default="cuda", help="cpu, cuda or mps [cuda]")
        add("--disable_progress_bar", action="store_true", help="show no progress bar")
        add("--not_on_device", action="store_true", help="keep sums of logits in the computer's memory, not the GPU's")
        add(NO_CHECK, action="store_true", help="do not read all images first (ours)")
        add(STOCK, action="store_true", help="let nnUNetv2_predict do it (ours)")
        add(
            FAST,
            action="store_true",
            help="do not mirror: 3d takes an eighth of the time, and labels differ (ours)",
        )
        add(TRUST, action="store_true", help=f"{options.TRUST} (ours)")
        add("--missing_channel", nargs="+", default=[], metavar="CHANNEL", help="number or name; images lack it (ours)")
        predict_structures.add_structures_argument(parser)
        predict_adapted.add_adapt_arguments(parser)
        add_dicom_arguments(parser)

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Predict:
        """Read the options, and keep the words for nnUNetv2_predict."""
        parser = options.Parser(
            prog=f"nnunet_ext {cls.name}",
            description=cls.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        cls.add_arguments(parser)
        return cls(words=list(arguments), **vars(parser.parse_args(arguments)))

    def run(self) -> int:
        """Predict; 1 if a case failed."""
        open_door()
        if wants_dicom(self):
            with shown_logs(verbose=self.verbose):
                return case_report(predict_dicom(self, folds_named=self.f is not DEFAULT_FOLDS), str(self.o))
        model = self._check()
        code = self._predict_any(model)
        if self.structures is not None:
            predict_structures.write_predicted_structures(self, model)
        return code

    def _predict_any(self, model: Path) -> int:
        """Predict, or let nnU-Net do it."""
        with shown_logs(verbose=self.verbose):
            if self.fast:
                logger.info("--fast: no mirroring. Labels differ from those with mirroring, nnU-Net's default")
            reason = STOCK if self.stock else self._reason_for_stock(model)
            predict_adapted.check_adapt(self, reason)
            if reason is None:
                return self._predict(model)
            if self.missing_channel:
                raise UserError(
                    f"--missing_channel: expected what nnunet_ext predicts, found what is left to nnU-Net: {reason}. "
                    f"Give all channels."
                )
            logger.info("nnU-Net's own prediction is used: %s", reason)
        from nnunetv2.inference.predict_from_raw_data import predict_entry_point

        run_stock("nnUNetv2_predict", predict_entry_point, self._stock_words())
        return 0

    def _stock_words(self) -> list[str]:
        own = predict_structures.without_structures(self.words)
        words = [NO_MIRRORING if word == FAST else word for word in own if word not in OURS]
        if (self.npp == 0) != (self.nps == 0):  # nnU-Net works without processes only if both are 0
            words += ["-npp", str(max(1, self.npp)), "-nps", str(max(1, self.nps))]
        return words

    def _check(self) -> Path:
        """Refuse what cannot be predicted; return the model's folder."""
        wanted = {"-i": self.i, "-o": self.o, "-d": self.d, "-c": self.c}
        if missing := [flag for flag, word in wanted.items() if word is None]:
            raise UserError(
                f"expected -i IMAGES -o OUTPUT -d DATASET -c CONFIGURATION, found no {', '.join(missing)}. "
                f"Example: nnunet_ext predict -i imagesTs -o predictions -d 4 -c 3d_fullres -tr BANetTrainer -f 0"
            )
        if self.part_id >= self.num_parts:
            raise UserError(
                f"-part_id {self.part_id}: expected less than -num_parts, {self.num_parts}, counted from 0. Correct it."
            )
        check_trainer(self.tr)
        model = model_folder(str(self.d), str(self.c), self.tr, self.p)
        _check_no_collection(model)
        if self.structures is not None:
            predict_structures.challenge_record(model)
        self._check_runs_no_code(model)
        folders.check_writable(Path(str(self.o)), f"-o {self.o}")
        check_device(self.device)
        self._check_previous_stage(model)
        if self.no_check:
            options.check_words(["-i", str(self.i)], {"-i": options.folder})
        else:
            from nnunet_ext.data.dataset_check import check_images
            from nnunet_ext.data.dataset_json import read_dataset_json
            from nnunet_ext.prediction.missing_channels import missing_channels

            description = read_dataset_json(model / "dataset.json")
            plans = folders.read_json(model / "plans.json")
            lacking, show = missing_channels(self.missing_channel, description), not self.disable_progress_bar
            check_images(Path(str(self.i)), description, plans, missing=lacking, show_progress=show)
        return model

    def _check_runs_no_code(self, model: Path) -> None:
        """Refuse a model that may run code, before nnU-Net reads it, which would let it."""
        check_folds(model, self.f, self.chk, self.trust)
        if not self.trust:
            from nnunet_ext.foreign.class_names import check_class_names

            check_class_names(read_object(model / "plans.json"), model / "plans.json")

    def _check_previous_stage(self, model: Path) -> None:
        """Refuse the second stage of a cascade without the predictions of the first."""
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        from nnunet_ext.data.raw_dataset import list_images

        plans = read_object(model / "plans.json")
        if str(self.c) not in plans.get("configurations", {}):
            return  # reported when the model is read
        previous = PlansManager(plans).get_configuration(str(self.c)).previous_stage_name
        if previous is None:
            return
        of_first = f"-prev_stage_predictions: expected the label maps that configuration {previous} predicts"
        remedy = f"Predict with -c {previous} first, and give its -o."
        if self.prev_stage_predictions is None:
            raise UserError(f"{of_first}, found no such option. {remedy}")
        description = read_object(model / "dataset.json")
        ending, channels = description["file_ending"], len(description["channel_names"])
        for case in list_images(Path(str(self.i)), ending, channels):
            file = Path(self.prev_stage_predictions) / f"{case.name}{ending}"
            if not file.is_file():
                raise UserError(f"{of_first}, found no {file}. {remedy}")

    def _reason_for_stock(self, model: Path) -> str | None:
        from nnunet_ext.prediction.stock_reasons import reason_for_stock

        return reason_for_stock(
            read_object(model / "plans.json"),
            read_object(model / "dataset.json"),
            str(self.c),
            save_probabilities=self.save_probabilities,
            previous_stage=self.prev_stage_predictions is not None,
        )

    def _predict(self, model: Path) -> int:
        import torch

        # as nnUNetv2_predict does
        torch.set_num_threads(os.cpu_count() or 1 if self.device == "cpu" else 1)
        predictor = predict_adapted.predictor_for(self)(
            model,
            self.f,
            self.chk,
            device=self.device,
            step_size=self.step_size,
            mirroring=not (self.disable_tta or self.fast),
            on_device=not self.not_on_device,
            trust=self.trust,
            missing_channels=self.missing_channel,
        )
        results = predictor.predict_folder(
            str(self.i),
            str(self.o),
            overwrite=not self.continue_prediction,
            parts=self.num_parts,
            part=self.part_id,
            read_ahead=self.npp > 0,
            write_behind=self.nps > 0,
            check=self.no_check,  # else all have been checked
            show_progress=not self.disable_progress_bar,
            record={"num_processes_preprocessing": self.npp, "num_processes_segmentation_export": self.nps},
        )
        code = case_report(results, str(self.o))
        predict_adapted.report_adaptation(results, self)
        return code


def _check_no_collection(model: Path) -> None:
    from nnunet_ext.collection.task_table import TaskTable, member_plans_name

    plans = read_object(model / "plans.json")
    table = TaskTable.read(plans)
    if table is not None and table.bound is None:
        raise UserError(
            f"{model}: expected the model of one dataset, found that of a collection. Predict with a task's view: -d "
            f"{dataset_number(table.tasks[0].dataset)} -p {member_plans_name(plans['plans_name'], table.collection)}; "
            f"or all tasks with nnunet_ext predict_tasks."
        )


def _workers(variable: str) -> int:
    """nnU-Net's default, which a variable can change; it ignores what is no number."""
    word = os.environ.get(variable, "")
    return int(word) if word.isdecimal() else 3
