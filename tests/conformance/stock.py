"""nnU-Net's own commands, called in this process, and the phantom datasets that they run on.

A collection trainer trains on a collection of the phantom dataset and a small companion. Stock commands then predict,
evaluate and share the *model* of that dataset: its task view. For other trainers model and run are one folder.

Every phantom dataset has unlabelled images beside the labelled ones, which semi-supervised trainers need and others
never see, and two raters who drew the labels, of whom the second left a case out.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from children import TRAINERS, load, without_dropout
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
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.base import knobs
from nnunet_ext.cli.main import main as nnunet_ext
from nnunet_ext.collection.task_table import member_plans_name
from nnunet_ext.collection.training.trainer import MultiTaskTrainer
from nnunet_ext.foreign.checkpoint import read_foreign_checkpoint
from nnunet_ext.methods.baseline.planner import CollectionLitePlanner, LitePlanner
from nnunet_ext.methods.fine_tune.trainer import FineTuneTrainer
from nnunet_ext.methods.masked_autoencoder.pretraining_trainer import PretrainingTrainer
from nnunet_ext.methods.raters.trainer import RatersTrainer
from nnunet_ext.methods.sequential_fine_tuning.trainer import SequentialFineTuningTrainer
from nnunet_ext.phantoms.dataset import write_phantom_dataset
from nnunet_ext.semi_supervised.trainer import SemiSupervisedTrainer

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
USUAL = {"cases": 5, "unseen": 1, "unlabelled": 2, "shape": (16, 32, 32), "spacing": (1.5, 1.0, 1.0)}


def stock(command: str, *words: object) -> None:
    """Run a stock command as if typed."""
    before = sys.argv
    sys.argv = [command, *map(str, words)]
    try:
        ENTRY_POINTS[command]()
    finally:
        sys.argv = before


def trainers_of(kind: type) -> tuple[str, ...]:
    """Return the names of the trainers of a kind."""
    return tuple(name for name in TRAINERS if issubclass(load(name), kind))


COLLECTION_TRAINERS = trainers_of(MultiTaskTrainer)
SEMI_SUPERVISED_TRAINERS = trainers_of(SemiSupervisedTrainer)
PRETRAINING_TRAINERS = trainers_of(PretrainingTrainer)
CHAIN_TRAINERS = trainers_of(SequentialFineTuningTrainer)  # they start from a model, and follow another one
FINE_TUNING_TRAINERS = (*trainers_of(FineTuneTrainer), *CHAIN_TRAINERS)


def dataset(data: str) -> str:
    """Return a phantom dataset's name."""
    return f"Dataset{PHANTOMS[data][0]}_Phantom"


def companion(data: str) -> str:
    """Return the name of the other member of a dataset's collection, whose task comes first."""
    return f"Dataset{PHANTOMS[data][0] + 50}_Companion"


def dataset_to_train(trainer: str, data: str) -> str:
    """Return the dataset's name, or its collection's."""
    return f"Dataset{PHANTOMS[data][0] + 100}_Collection" if trainer in COLLECTION_TRAINERS else dataset(data)


def folder(variable: str, data: str) -> Path:
    """Return a dataset's folder in ``nnUNet_raw``, ``nnUNet_preprocessed`` or ``nnUNet_results``."""
    return Path(os.environ[variable]) / dataset(data)


def cheapest(trainer: str) -> str:
    """Return the trainer's fastest configuration."""
    return "3d_fullres" if trainer in COLLECTION_TRAINERS else "2d"


@functools.cache
def prepare(data: str) -> int:
    """Write, plan (LitePlanner) and preprocess a phantom dataset, once a session; return its number."""
    number, options = PHANTOMS[data]
    place = folder("nnUNet_raw", data)
    write_phantom_dataset(place.parent, place.name, seed=number, **(USUAL | options))
    for rater in ("first", "second"):
        shutil.copytree(place / "labelsTr", place / "labelsTr_raters" / rater)
    (place / "labelsTr_raters" / "second" / "case_001.nii.gz").unlink()
    plan_and_preprocess(number, "LitePlanner", "2d", "3d_fullres")
    return number


@functools.cache
def prepare_collection(data: str) -> int:
    """Collect, plan and preprocess a phantom dataset and its companion of other channels and classes, once a session.

    The plans have the name of the dataset's own.
    """
    options = USUAL | PHANTOMS[data][1]
    options |= {
        "channels": 3,
        "cases": 3,
        "unseen": 0,
        "unlabelled": 0,
        "regions": not options.get("regions", False),
        "ignore": False,
    }
    number = prepare(data)
    write_phantom_dataset(folder("nnUNet_raw", data).parent, companion(data), seed=number + 50, **options)
    words = ["collect", "-d", number + 100, "-n", "Collection", "--no_pbar", number + 50, number]
    assert nnunet_ext([str(word) for word in words]) == 0
    plan_and_preprocess(number + 100, "CollectionLitePlanner", "3d_fullres", plans=PLANS)
    return number + 100


def prepare_for(trainer: str, data: str) -> int:
    """Prepare what the trainer trains on; return its number."""
    return prepare_collection(data) if trainer in COLLECTION_TRAINERS else prepare(data)


def plan_and_preprocess(number: int, planner: str, *configurations: str, plans: str | None = None) -> None:
    """Run nnunet_ext plan_and_preprocess with the knobs of a short run."""
    words = ["-d", number, "-pl", planner, "-c", *configurations, "-npfp", 2, "-np", 1, "--no_pbar", "--set"]
    words += [f"{key}={value}" for key, value in SHORT.items()]
    words += ["-overwrite_plans_name", plans] if plans else []
    assert nnunet_ext(["plan_and_preprocess", *map(str, words)]) == 0


def read_plans(trainer: str, data: str, plans: str = PLANS) -> dict[str, Any]:
    """Return the plans to train with."""
    prepare_for(trainer, data)
    return json.loads(_plans_file(dataset_to_train(trainer, data), plans).read_text())


def read_model_plans(trainer: str, data: str, plans: str = PLANS) -> dict[str, Any]:
    """Return the plans that the dataset's model has."""
    prepare_for(trainer, data)
    return json.loads(_plans_file(dataset(data), model_plans(trainer, data, plans)).read_text())


def model_plans(trainer: str, data: str, plans: str = PLANS) -> str:
    """Return the name of the plans that the dataset's model has."""
    return member_plans_name(plans, dataset_to_train(trainer, data)) if trainer in COLLECTION_TRAINERS else plans


def write_plans(trainer: str, data: str, plans: dict[str, Any], name: str, **changed_knobs: object) -> str:
    """Write plans over the same preprocessed data under a name of their own; return the name."""
    before, plans["plans_name"] = plans["plans_name"], name
    if changed_knobs:
        knobs.put(plans, changed_knobs)
    _plans_file(dataset_to_train(trainer, data), name).write_text(json.dumps(plans))
    if trainer in COLLECTION_TRAINERS:
        for member in (companion(data), dataset(data)):
            _write_member_plans(member, dataset_to_train(trainer, data), plans, before)
    return name


def variant(trainer: str, data: str, name: str, **changed_knobs: object) -> str:
    """Write the usual plans under another name and with other knobs; return the name."""
    return write_plans(trainer, data, read_plans(trainer, data), name, **changed_knobs)


def _write_member_plans(member: str, collection: str, plans: dict[str, Any], before: str) -> None:
    """Let a member's plans follow those of its collection, which were called ``before``."""
    theirs = json.loads(_plans_file(member, member_plans_name(before, collection)).read_text())
    theirs["plans_name"] = member_plans_name(plans["plans_name"], collection)
    theirs.pop(knobs.BLOCK, None)
    theirs.update({key: plans[key] for key in (knobs.BLOCK,) if key in plans})
    planned = plans["configurations"]["3d_fullres"]
    theirs["configurations"]["3d_fullres"] |= {
        "batch_size": planned["batch_size"],
        "data_identifier": planned["data_identifier"].replace("_3d_fullres", f"_{collection}_3d_fullres"),
    }
    _plans_file(member, theirs["plans_name"]).write_text(json.dumps(theirs))


def _plans_file(name: str, plans: str) -> Path:
    return Path(os.environ["nnUNet_preprocessed"]) / name / f"{plans}.json"


class LiteResEncPlanner(LitePlanner, nnUNetPlannerResEncM):
    """Residual encoder plans that a CPU can train."""


class CollectionLiteResEncPlanner(CollectionLitePlanner, LiteResEncPlanner):
    """The same for collections."""


@functools.cache
def prepare_residual_encoder(trainer: str, data: str) -> str:
    """Plan over the data that are preprocessed already."""
    name = "LiteResEncPlans"
    planner = CollectionLiteResEncPlanner if trainer in COLLECTION_TRAINERS else LiteResEncPlanner
    plan_experiment_dataset(prepare_for(trainer, data), planner, overwrite_plans_name=name)
    plans = read_plans(trainer, data, name)
    for configuration in plans["configurations"]:
        plans["configurations"][configuration]["data_identifier"] = f"{PLANS}_{configuration}"
    return write_plans(trainer, data, plans, name, **SHORT)


@functools.cache
def prepare_cascade(trainer: str, data: str) -> str:
    """Add the two configurations to the plans, as nnU-Net's integration tests do, and preprocess."""
    plans = read_plans(trainer, data)
    configurations = plans["configurations"]
    full = configurations["3d_fullres"]
    configurations["3d_lowres"] = {
        "inherits_from": "3d_fullres",
        "data_identifier": "LiteCascadePlans_3d_lowres",
        "spacing": [1.25 * step for step in full["spacing"]],
        "median_image_size_in_voxels": [length / 1.25 for length in full["median_image_size_in_voxels"]],
        "architecture": deepcopy(full["architecture"]),
        "next_stage": "3d_cascade_fullres",
    }
    configurations["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    name = write_plans(trainer, data, plans, "LiteCascadePlans")
    number = prepare_for(trainer, data)
    stock("nnUNetv2_preprocess", "-d", number, "-plans_name", name, "-c", "3d_lowres", "-np", 2)
    words = ["-d", number, "-p", name, "-c", "3d_lowres", "-np", 1, "--no_pbar"]
    for command in ("preprocess_unlabelled", "preprocess_raters"):
        assert nnunet_ext([command, *map(str, words)]) == 0
    return name


def train(trainer: str, data: str, configuration: str, fold: int | str = 0, *flags: object, plans: str = PLANS) -> Path:
    """Run nnUNetv2_train and return the folder of the model's fold."""
    number = prepare_for(trainer, data)
    with source_named(trainer, data, configuration, plans, *flags):
        stock("nnUNetv2_train", number, configuration, fold, "-tr", trainer, "-p", plans, "-device", "cpu", *flags)
    return model_folder(trainer, data, configuration, plans) / f"fold_{fold}"


@contextlib.contextmanager
def source_named(trainer: str, data: str, configuration: str, plans: str, *flags: object) -> Iterator[None]:
    """``with source_named(...):`` plans name a model to start from, if the trainer demands one and they name none.

    It is that of ``-pretrained_weights``, or nnU-Net's network of these plans with random weights. A trainer of chains
    follows another such network.
    """
    if trainer not in FINE_TUNING_TRAINERS:
        yield
        return
    file = _plans_file(dataset(data), plans)
    before = file.read_text()
    content = json.loads(before)
    given = flags[flags.index("-pretrained_weights") + 1] if "-pretrained_weights" in flags else None
    block = content.setdefault(knobs.BLOCK, {})
    if "init_from" not in block:
        block["init_from"] = str(given or _random_model(data, configuration, plans))
    if trainer in CHAIN_TRAINERS:
        task = {"task_model": str(_random_model(data, configuration, plans, seed=1))}
        block["sequential_fine_tuning"] = task | block.get("sequential_fine_tuning", {})
    file.write_text(json.dumps(content))
    try:
        yield
    finally:
        file.write_text(before)


@functools.cache
def _random_model(data: str, configuration: str, plans: str, seed: int = 0) -> Path:
    content = json.loads(_plans_file(dataset(data), plans).read_text())
    described = json.loads((folder("nnUNet_raw", data) / "dataset.json").read_text())
    manager = PlansManager(deepcopy(content))
    of = manager.get_configuration(configuration)
    channels = determine_num_input_channels(manager, of, described)
    heads = manager.get_label_manager(described).num_segmentation_heads
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nnUNetTrainer.build_network_architecture(manager, of, channels, heads, True)
    file = Path(os.environ["nnUNet_results"]).parent / "sources" / f"{data} {configuration} {plans} {seed}.pth"
    file.parent.mkdir(exist_ok=True)
    arguments = {"plans": content, "configuration": configuration, "dataset_json": described}
    torch.save({"network_weights": network.state_dict(), "init_args": arguments}, file)
    return file


@functools.cache
def trained(trainer: str, data: str, configuration: str, fold: int | str = 0, plans: str = PLANS) -> Path:
    """Like :func:`train` with ``--npz``, once a session."""
    return train(trainer, data, configuration, fold, "--npz", plans=plans)


def model_folder(trainer: str, data: str, configuration: str, plans: str = PLANS) -> Path:
    """Return the folder of the dataset's model, which stock commands predict with."""
    return folder("nnUNet_results", data) / f"{trainer}__{model_plans(trainer, data, plans)}__{configuration}"


def run_folder(trainer: str, data: str, configuration: str, plans: str = PLANS) -> Path:
    """Return the folder that the training writes logs and checkpoints into."""
    place = Path(os.environ["nnUNet_results"]) / dataset_to_train(trainer, data)
    return place / f"{trainer}__{plans}__{configuration}"


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
    images = folder("nnUNet_raw", data) / "imagesTs"
    stock("nnUNetv2_predict", *prediction(trainer, data, configuration, images, out, *flags, folds=folds, plans=plans))
    return out


def prediction(
    trainer: str,
    data: str,
    configuration: str,
    images: Path,
    out: Path,
    *flags: object,
    folds: Sequence[int | str] = (0,),
    plans: str = PLANS,
) -> list[str]:
    """Return what follows ``nnUNetv2_predict``, or ``nnunet_ext predict``."""
    words = [
        "-i", images, "-o", out, "-d", prepare(data), "-c", configuration, "-tr", trainer,
        "-p", model_plans(trainer, data, plans), "-f", *folds,
        "-device", "cpu", "-npp", 0, "-nps", 0, "--disable_progress_bar", *flags,
    ]  # fmt: skip
    return [str(word) for word in words]


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


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """``with default_dtype(torch.float64):`` networks are made, and steps run, in these numbers."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def initialized(
    trainer: str, data: str, configuration: str, plans: str = PLANS, dtype: torch.dtype = torch.float32
) -> tuple[nnUNetTrainer, dict[str, Any]]:
    """Return a trainer that is ready for a step, dropout apart, and a real batch."""
    number = str(prepare_for(trainer, data))
    with source_named(trainer, data, configuration, plans):
        ready = get_trainer_from_args(number, configuration, 0, trainer, plans, False, torch.device("cpu"))
    with default_dtype(dtype):
        ready.initialize()
        loaders = ready.get_dataloaders()
    batch = next(batch for batch in loaders[0] if np.all(batch.get("task", 1) == 1))  # 0 is the companion's
    if "buffer" in batch:  # of other data, whose labels are not the network's
        buffer = torch.cat((batch["data"], batch["buffer"]))
        batch = {**next(loaders[1]), "buffer": buffer, "step": batch["step"]}
    ready.set_deep_supervision_enabled(ready.enable_deep_supervision)
    ready.network.train()
    without_dropout(ready.network)
    images = {name: batch[name].to(dtype) for name in ("data", "unlabelled", "buffer") if name in batch}
    return ready, batch | images


def batch_of_each_task(ready: nnUNetTrainer) -> list[dict[str, Any]]:
    """Return a batch, of a collection trainer one for each task."""
    batches = {}
    for batch in ready.get_dataloaders()[0]:
        batches[tuple(np.unique(batch.get("task", 0)))] = batch
        if len(batches) == max(1, len(getattr(ready, "members", ()))):
            break
    return list(batches.values())


def on_batch(trainer: nnUNetTrainer, batch: dict[str, Any]) -> contextlib.AbstractContextManager[Any]:
    """``with on_batch(...):`` network and loss of a collection trainer are those of the batch's task."""
    of_one = "task" in batch and not mixes(trainer)
    return trainer.on_task(batch["task"]) if of_one else contextlib.nullcontext()


def mixes(trainer: nnUNetTrainer) -> bool:
    """Whether each sample of a training batch has its own task; the collection's channels keep them apart here."""
    return getattr(trainer, "always_mixes", False)


def validation_batch(trainer: nnUNetTrainer, batch: dict[str, Any]) -> dict[str, Any]:
    """Return a batch to validate on: the training batch itself, unless it is a mixed one."""
    if not mixes(trainer):
        return batch
    return next(other for other in trainer.get_dataloaders()[1] if other["task"] == batch["task"][0])


def loss_of(trainer: nnUNetTrainer, batch: dict[str, Any]) -> torch.Tensor:
    """Return the loss of a batch's labelled images; where train mode returns more than logits, that of a step."""
    if mixes(trainer):
        batch = trainer.with_mixes(batch)
        trainer.task_network.set_sample_tasks(batch["task"])
        step = trainer.mixed_step(batch)
        loss = trainer.loss(trainer.network(batch["data"]), step)
        trainer.task_network.set_task(int(batch["task"][0]))
        return loss
    if isinstance(trainer, PretrainingTrainer):
        patch = trainer.hidden_patch(batch)
        return trainer.loss(trainer.network(patch.input(trainer.is_zero)), patch)
    output = trainer.network(batch["data"])
    logits = isinstance(output, torch.Tensor | list)
    if isinstance(trainer, RatersTrainer):
        batch = trainer.with_own_labels(batch)
    return trainer.loss(output, batch["target"] if logits else trainer.training_step(batch))


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Return what a checkpoint holds."""
    return torch.load(file, map_location="cpu", weights_only=False)


def log_of(fold: Path) -> str:
    """Return all that was logged in a fold's folder, run after run."""
    return "\n".join(file.read_text() for file in sorted(fold.glob("training_log_*.txt")))


def check_trained(fold: Path, *, epochs: int = SHORT["num_epochs"]) -> None:
    """A finished run: whole checkpoint, finite losses for each epoch, validated cases with finite Dice."""
    checkpoint = read_foreign_checkpoint(fold / "checkpoint_final.pth")  # a receiver of the model need not trust it
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
    """Every unseen case has a label map on the image's grid with labels of the dataset only."""
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
