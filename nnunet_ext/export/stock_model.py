"""Stock nnU-Net models from models that contain a plain U-Net."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunet_ext.base.checkpoints import read_checkpoint, read_trained
from nnunet_ext.base.validated_checkpoint import FINAL, validated_checkpoint
from nnunet_ext.data.dataset_json import read_dataset_json
from nnunet_ext.data.plans_file import read_plans
from nnunet_ext.errors import UserError, is_write_error, one_line
from nnunet_ext.export.plain_unet import plain_unet
from nnunet_ext.files.json_file import read_json, write_json
from nnunet_ext.files.system_files import files_in

TRAINER = nnUNetTrainer.__name__
OF_MODEL = ("dataset.json", "dataset_fingerprint.json")
SUMMARY = "validation/summary.json"
OF_FOLD = ("progress.png", SUMMARY)  # nnU-Net's export to a zip needs both
logger = logging.getLogger(__name__)


def strip(
    model: Path, trainer: type[nnUNetTrainer], folds: Sequence[str], checkpoint_name: str, plans_name: str
) -> Path:
    """Write a stock nnU-Net model beside a model: encoder, decoder and nothing else.

    What a method needs only in training is left out. That the rest predicts the same is verified on a random image.
    Validation results are copied if they belong to the same checkpoint, because they are the same.

    Args:
        model: Folder ``TRAINER__PLANS__CONFIGURATION`` in nnUNet_results.
        trainer: Its trainer.
        folds: Folds to write.
        checkpoint_name: Name of the checkpoint file, here and there.
        plans_name: Name of the new model's plans.

    Returns:
        The new model's folder, ``nnUNetTrainer__PLANS_NAME__CONFIGURATION``.

    Raises:
        UserError: The network is not a plain U-Net in prediction; a fold of the new model, or another model of that
            name, already exists; the model cannot be written.
    """
    configuration = model.name.rpartition("__")[2]
    target = model.with_name(f"{TRAINER}__{plans_name}__{configuration}")
    plans = read_plans(model / "plans.json")
    origin = _origin(trainer, plans)
    plans |= {"plans_name": plans_name}
    if target.exists() and not _is_stripped(target, plans, origin):
        raise UserError(
            f"{target}: expected no model of that name, or one stripped from {model.name}, found another. Choose "
            f"another name with --as."
        )
    files = {fold: target / f"fold_{fold}" / checkpoint_name for fold in folds}
    present = next((file for file in files.values() if file.exists()), None)
    if present is not None:
        raise UserError(f"{present}: expected no such checkpoint yet, found one. Choose another name with --as.")
    stripped = {fold: _stripped(model, trainer, fold, checkpoint_name, plans_name) for fold in folds}
    try:
        target.mkdir(exist_ok=True)
        write_json(target / "plans.json", plans)
        _copy(OF_MODEL, model, target)
        for fold, file in files.items():
            partial = target / f"{checkpoint_name}.partial"  # in the fold's folder alone it would look like a training
            torch.save(stripped[fold], partial)
            file.parent.mkdir(exist_ok=True)
            _copy(_files_of(model / file.parent.name, checkpoint_name), model / file.parent.name, file.parent)
            partial.replace(file)
    except (OSError, RuntimeError) as error:
        if not is_write_error(error):
            raise
        raise UserError(
            f"{target}: expected to write a model, got {one_line(error)!r}. Free space or correct its permissions."
        ) from error
    return target


def _origin(trainer: type[nnUNetTrainer], plans: Mapping[str, Any]) -> dict[str, str]:
    return {"trainer": trainer.__name__, "plans": plans["plans_name"]}


def _is_stripped(target: Path, plans: dict[str, Any], origin: dict[str, str]) -> bool:
    """Whether everything in a model's folder was stripped from one model; a fold that is in training was not."""
    if not target.is_dir():
        return False
    file = target / "plans.json"
    if files_in(target) and not (file.is_file() and read_json(file) == plans):
        return False
    folds = [list(fold.glob("*.pth")) for fold in target.glob("fold_*")]
    return all(folds) and all(
        read_checkpoint(checkpoint).get("stripped_from") == origin for fold in folds for checkpoint in fold
    )


def _copy(names: Sequence[str], source: Path, target: Path) -> None:
    for name in names:
        if (source / name).is_file():
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, target / name)


def _files_of(fold: Path, checkpoint_name: str) -> tuple[str, ...]:
    """Return what belongs to a checkpoint of a fold: the summary only if that checkpoint was validated."""
    validated = validated_checkpoint(fold / "validation")
    if validated == checkpoint_name or not (fold / SUMMARY).is_file():
        return OF_FOLD
    logger.warning(
        "%s: not copied, because it holds the scores of %s, not those of %s. To write those, validate the new model: "
        "nnUNetv2_train ... --val%s",
        fold / SUMMARY,
        validated,
        checkpoint_name,
        "" if checkpoint_name == FINAL else " --val_best",
    )
    return tuple(name for name in OF_FOLD if name != SUMMARY)


def _stripped(
    model: Path, trainer: type[nnUNetTrainer], fold: str, checkpoint_name: str, plans_name: str
) -> dict[str, Any]:
    file = model / f"fold_{fold}" / checkpoint_name
    checkpoint = read_trained(file, "optimizer_state")
    arguments = checkpoint["init_args"]
    plain = plain_unet(
        trainer,
        arguments["plans"],
        arguments["configuration"],
        read_dataset_json(model / "dataset.json"),
        checkpoint["network_weights"],
        file,
    )
    kept = {name: value for name, value in checkpoint.items() if name != "nnunet_ext"}
    return kept | {
        "network_weights": dict(plain.state_dict()),
        "optimizer_state": _at_rest(checkpoint["optimizer_state"], plain),
        "trainer_name": TRAINER,
        "init_args": arguments | {"plans": arguments["plans"] | {"plans_name": plans_name}},
        "stripped_from": _origin(trainer, arguments["plans"]),
    }


def _at_rest(state: dict[str, Any], plain: nn.Module) -> dict[str, Any]:
    """Return an optimizer's state with the same settings, for fewer parameters and without momentum."""
    group = state["param_groups"][0] | {"params": list(range(len(list(plain.parameters()))))}
    return {"state": {}, "param_groups": [group]}
