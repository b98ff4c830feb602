"""``nnunet_ext predict --dicom``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.dicom.extra import require_dicom
from nnunet_ext.errors import UserError
from nnunet_ext.stock import folders
from nnunet_ext.stock.entry_points import check_device
from nnunet_ext.stock.lookup import check_trainer
from nnunet_ext.stock.models import model_folder

if TYPE_CHECKING:
    from nnunet_ext.cli.predictions.predict import Predict
    from nnunet_ext.prediction.cases import CaseResult

AXES = ("LR", "PA", "IS")


def add_dicom_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that only ``--dicom`` has."""
    add = parser.add_argument
    add("--dicom", nargs="+", metavar="FOLDER", help="instead of -i: folders of DICOM series; -o gets DICOM-SEG (ours)")
    add("--series", nargs="+", metavar="UID", help="with --dicom: the series, where folders hold several (ours)")
    add(
        "--orientation",
        type=_orientation,
        metavar="XYZ",
        help="with --dicom: axes of the images that the model was trained with, such as RAS [as stored] (ours)",
    )
    add("-m", metavar="MODEL", help="with --dicom: folder or zip file of a model, instead of -d -c -tr -p (ours)")


def wants_dicom(command: Predict) -> bool:
    """Say whether any option is given that only ``--dicom`` has."""
    return any(option is not None for option in (command.dicom, command.series, command.orientation, command.m))


def predict_dicom(command: Predict, *, folds_named: bool) -> list[CaseResult]:
    """Predict DICOM series, and write a segmentation for each case.

    Args:
        command: The options.
        folds_named: The folds are not the default.

    Returns:
        A result for each case.

    Raises:
        UserError: An option is wrong or missing, or a folder holds no volume.
    """
    import torch

    _check(command)
    require_dicom("--dicom")
    from nnunet_ext.dicom.found_series import choose_series
    from nnunet_ext.dicom.predictor import DicomPredictor

    model, folds = _model(command, folds_named)
    folders.check_writable(Path(str(command.o)), f"-o {command.o}")
    check_device(command.device)
    show_progress = not command.disable_progress_bar
    series = choose_series(list(map(Path, command.dicom or ())), command.series, show_progress=show_progress)
    # as nnUNetv2_predict does
    torch.set_num_threads(os.cpu_count() or 1 if command.device == "cpu" else 1)
    predictor = DicomPredictor(
        model,
        folds,
        command.chk,
        device=command.device,
        step_size=command.step_size,
        mirroring=not (command.disable_tta or command.fast),
        on_device=not command.not_on_device,
        trust=command.trust,
    )
    return predictor.predict_series(
        series,
        str(command.o),
        orientation=command.orientation,
        overwrite=not command.continue_prediction,
        parts=command.num_parts,
        part=command.part_id,
        read_ahead=command.npp > 0,
        write_behind=command.nps > 0,
        check=not command.no_check,
        show_progress=show_progress,
    )


def _check(command: Predict) -> None:
    if command.dicom is None:
        raise UserError(
            "--series, --orientation, -m: expected with --dicom FOLDER, found no --dicom. Add it, or leave them out."
        )
    others = {
        "-i": command.i is not None,
        "--missing_channel": bool(command.missing_channel),
        "--stock": command.stock,
        "--save_probabilities": command.save_probabilities,
        "-prev_stage_predictions": command.prev_stage_predictions is not None,
        "--structures": command.structures is not None,
        "--adapt": command.adapt is not None or command.adapt_steps is not None,
    }
    if given := [name for name, there in others.items() if there]:
        raise UserError(f"--dicom: expected without {', '.join(others)}, found {', '.join(given)}. Leave out one.")
    by_name = command.d is not None and command.c is not None
    if command.o is None or by_name == (command.m is not None):
        raise UserError(
            "--dicom: expected -o OUTPUT, and a model: either -m MODEL or -d DATASET -c CONFIGURATION. Example: "
            "nnunet_ext predict --dicom exported -o segmentations -m model.zip"
        )
    if command.part_id >= command.num_parts:
        raise UserError(
            f"-part_id {command.part_id}: expected less than -num_parts, {command.num_parts}, counted from 0. Correct "
            f"it."
        )


def _model(command: Predict, folds_named: bool) -> tuple[Path, Sequence[str] | None]:
    """The model's folder or file, and the folds; with -m, all that are trained if none are named."""
    if command.m is None:
        check_trainer(command.tr)
        return model_folder(str(command.d), str(command.c), command.tr, command.p), command.f
    model = Path(command.m)
    if not model.exists():
        raise UserError(f"-m {model}: expected the folder or the zip file of a model, found none. Correct the path.")
    return model, command.f if folds_named else None


def _orientation(text: str) -> str:
    """Read three directions, one of each pair."""
    letters = text.upper()
    if len(letters) != 3 or any(sum(letter in pair for letter in letters) != 1 for pair in AXES):
        raise argparse.ArgumentTypeError(
            f"expected the directions of X, Y, Z, one of L/R, P/A, I/S each, such as RAS, got {text!r}"
        )
    return letters
