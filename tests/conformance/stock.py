"""nnU-Net's own commands, called in this process, and the phantom data sets that they run on."""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from nnunetv2.ensembling.ensemble import entry_point_ensemble_folders
from nnunetv2.evaluation.evaluate_predictions import evaluate_folder_entry_point
from nnunetv2.evaluation.find_best_configuration import find_best_configuration_entry_point
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncM,
)
from nnunetv2.experiment_planning.plan_and_preprocess_api import plan_experiment_dataset
from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import preprocess_entry
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from nnunetv2.model_sharing.entry_points import export_pretrained_model_entry, install_from_zip_entry_point
from nnunetv2.postprocessing.remove_connected_components import entry_point_apply_postprocessing
from nnunetv2.run.run_training import get_trainer_from_args, run_training_entry
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.base import knobs
from nnunet_ext.baseline import LitePlanner
from nnunet_ext.cli.main import main as nnunet_ext
from nnunet_ext.phantoms import write_phantom_dataset

ENTRY_POINTS: dict[str, Callable[[], object]] = {
    "nnUNetv2_train": run_training_entry,
    "nnUNetv2_predict": predict_entry_point,
    "nnUNetv2_preprocess": preprocess_entry,
    "nnUNetv2_evaluate_folder": evaluate_folder_entry_point,
    "nnUNetv2_find_best_configuration": find_best_configuration_entry_point,
    "nnUNetv2_ensemble": entry_point_ensemble_folders,
    "nnUNetv2_apply_postprocessing": entry_point_apply_postprocessing,
    "nnUNetv2_export_model_to_zip": export_pretrained_model_entry,
    "nnUNetv2_install_pretrained_model_from_zip": install_from_zip_entry_point,
}

PLANS = "LitePlans"
SHORT = {"num_epochs": 1, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1, "seed": 1}

# name -> number, what write_phantom_dataset is told
PHANTOMS: dict[str, tuple[int, dict[str, Any]]] = {
    "plain": (801, {}),
    "ignore": (802, {"ignore": True}),
    "regions": (803, {"regions": True}),
    "regions+ignore": (804, {"regions": True, "ignore": True}),
    "2 channels": (805, {"channels": 2}),
    "4 channels": (806, {"channels": 4}),
    "anisotropic": (807, {"shape": (10, 40, 40), "spacing": (5.0, 1.0, 1.0)}),
    "too small": (808, {"shape": (8, 10, 10)}),
}
USUAL = {"cases": 5, "unseen": 1, "shape": (16, 32, 32), "spacing": (1.5, 1.0, 1.0)}


def stock(command: str, *words: object) -> None:
    """Run a stock command as if typed."""
    before = sys.argv
    sys.argv = [command, *map(str, words)]
    try:
        ENTRY_POINTS[command]()
    finally:
        sys.argv = before


def folder(variable: str, data: str) -> Path:
    """Return a data set's folder in ``nnUNet_raw``, ``nnUNet_preprocessed`` or ``nnUNet_results``."""
    return Path(os.environ[variable]) / f"Dataset{PHANTOMS[data][0]}_Phantom"


@functools.cache
def prepare(data: str) -> int:
    """Write, plan (LitePlanner) and preprocess a phantom data set, once a session; return its number."""
    number, options = PHANTOMS[data]
    place = folder("nnUNet_raw", data)
    write_phantom_dataset(place.parent, place.name, seed=number, **(USUAL | options))
    plan_and_preprocess(number, "LitePlanner", "2d", "3d_fullres")
    return number


def plan_and_preprocess(number: int, planner: str, *configurations: str) -> None:
    """Run nnunet_ext plan_and_preprocess with the knobs of a short run."""
    words = ["-d", number, "-pl", planner, "-c", *configurations, "-npfp", 2, "-np", 2, "--no_pbar", "--set"]
    words += [f"{key}={value}" for key, value in SHORT.items()]
    assert nnunet_ext(["plan_and_preprocess", *map(str, words)]) == 0


def read_plans(data: str, plans: str = PLANS) -> dict[str, Any]:
    """Return a data set's plans."""
    prepare(data)
    return json.loads((folder("nnUNet_preprocessed", data) / f"{plans}.json").read_text())


def write_plans(data: str, plans: dict[str, Any], name: str, **changed_knobs: object) -> str:
    """Write plans over the same preprocessed data under a name of their own; return the name."""
    plans["plans_name"] = name
    if changed_knobs:
        knobs.put(plans, changed_knobs)
    (folder("nnUNet_preprocessed", data) / f"{name}.json").write_text(json.dumps(plans))
    return name


class LiteResEncPlanner(LitePlanner, nnUNetPlannerResEncM):
    """Residual encoder plans that a CPU can train."""


@functools.cache
def prepare_residual_encoder(data: str) -> str:
    """Plan over the data that are preprocessed already."""
    number = prepare(data)
    name = "LiteResEncPlans"
    plan_experiment_dataset(number, LiteResEncPlanner, overwrite_plans_name=name)
    plans = read_plans(data, name)
    for configuration in ("2d", "3d_fullres"):
        plans["configurations"][configuration]["data_identifier"] = f"{PLANS}_{configuration}"
    return write_plans(data, plans, name, **SHORT)


def train(trainer: str, data: str, configuration: str, fold: int | str = 0, *flags: object, plans: str = PLANS) -> Path:
    """Run nnUNetv2_train and return the fold's folder."""
    number = prepare(data)
    stock("nnUNetv2_train", number, configuration, fold, "-tr", trainer, "-p", plans, "-device", "cpu", *flags)
    return model_folder(trainer, data, configuration, plans) / f"fold_{fold}"


@functools.cache
def trained(trainer: str, data: str, configuration: str, fold: int | str = 0, plans: str = PLANS) -> Path:
    """Like :func:`train` with ``--npz``, once a session."""
    return train(trainer, data, configuration, fold, "--npz", plans=plans)


def model_folder(trainer: str, data: str, configuration: str, plans: str = PLANS) -> Path:
    """Return the folder that holds the folds."""
    return folder("nnUNet_results", data) / f"{trainer}__{plans}__{configuration}"


def predict(
    trainer: str,
    data: str,
    configuration: str,
    out: Path,
    *flags: object,
    folds: Sequence[int | str] = (0,),
    plans: str = PLANS,
) -> Path:
    """Run nnUNetv2_predict on the unseen cases and return ``out``."""
    stock(
        "nnUNetv2_predict", "-i", folder("nnUNet_raw", data) / "imagesTs", "-o", out, "-d", prepare(data),
        "-c", configuration, "-tr", trainer, "-p", plans, "-f", *folds, "-device", "cpu", "-npp", 0, "-nps", 0,
        "--disable_progress_bar", *flags,
    )  # fmt: skip
    return out


def check_predicted_and_evaluate(data: str, predictions: Path) -> None:
    """Check predictions of the unseen cases and run nnUNetv2_evaluate_folder on them."""
    check_predicted(data, predictions)
    stock(
        "nnUNetv2_evaluate_folder", folder("nnUNet_raw", data) / "labelsTs", predictions,
        "-djfile", predictions / "dataset.json", "-pfile", predictions / "plans.json", "-np", 2,
    )  # fmt: skip
    assert math.isfinite(json.loads((predictions / "summary.json").read_text())["foreground_mean"]["Dice"])


def whole_path(trainer: str, data: str, configuration: str, out: Path, plans: str = PLANS) -> None:
    """Train, validate, predict the unseen cases into ``out`` and evaluate them, each with nnU-Net's own command."""
    check_trained(trained(trainer, data, configuration, plans=plans))
    check_predicted_and_evaluate(data, predict(trainer, data, configuration, out, plans=plans))


def initialized(
    trainer: str, data: str, configuration: str, plans: str = PLANS
) -> tuple[nnUNetTrainer, dict[str, Any]]:
    """Return a trainer that is ready for a step, and a real batch."""
    number = str(prepare(data))
    ready = get_trainer_from_args(number, configuration, 0, trainer, plans, False, torch.device("cpu"))
    ready.initialize()
    batch = next(ready.get_dataloaders()[0])
    ready.set_deep_supervision_enabled(True)
    ready.network.train()
    return ready, batch


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Return what a checkpoint holds."""
    return torch.load(file, map_location="cpu", weights_only=False)


def log_of(fold: Path) -> str:
    """Return all that was logged in a fold's folder, run after run."""
    return "\n".join(file.read_text() for file in sorted(fold.glob("training_log_*.txt")))


def check_trained(fold: Path, *, epochs: int = SHORT["num_epochs"]) -> None:
    """A finished run: whole checkpoint, finite losses for each epoch, validated cases with finite Dice."""
    checkpoint = read_checkpoint(fold / "checkpoint_final.pth")
    assert checkpoint["current_epoch"] == epochs
    for key in ("train_losses", "val_losses"):
        values = checkpoint["logging"][key]
        assert len(values) == epochs, key
        assert np.isfinite(values).all(), (key, values)
    assert (fold / "progress.png").is_file()
    summary = json.loads((fold / "validation" / "summary.json").read_text())
    assert math.isfinite(summary["foreground_mean"]["Dice"])
    assert len(list((fold / "validation").glob("*.nii.gz"))) == len(summary["metric_per_case"])


def check_predicted(data: str, predictions: Path) -> None:
    """Every unseen case has a label map on the image's grid with labels of the data set only."""
    legal = legal_labels(data)
    images = sorted((folder("nnUNet_raw", data) / "imagesTs").glob("*_0000.nii.gz"))
    assert images
    for file in images:
        image, prediction = nibabel.load(file), nibabel.load(predictions / file.name.replace("_0000", ""))
        assert prediction.shape == image.shape
        np.testing.assert_allclose(prediction.affine, image.affine, atol=1e-4)
        assert set(np.unique(prediction.dataobj)) <= legal


def legal_labels(data: str) -> set[int]:
    """Return the values that a prediction may hold: all labels but the ignore label."""
    labels = json.loads((folder("nnUNet_raw", data) / "dataset.json").read_text())["labels"]
    values: Iterable[Any] = (value for name, value in labels.items() if name != "ignore")
    return {number for value in values for number in (value if isinstance(value, list) else [value])}
