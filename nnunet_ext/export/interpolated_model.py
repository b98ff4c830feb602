"""A model between two others, as a model folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from nnunet_ext.data.preprocessed.image_preparation import differing_preparation
from nnunet_ext.errors import UserError
from nnunet_ext.export.plain_unet import NotPlainError, plain_unet
from nnunet_ext.export.stock_model import TRAINER
from nnunet_ext.files.json_file import read_json
from nnunet_ext.import_v1.model_folder import ModelFolder, write_models
from nnunet_ext.prediction.trained_model import TrainedModel
from nnunet_ext.stock.lookup import ext_trainer
from nnunet_ext.weights.interpolation import interpolate, joined_outputs
from nnunet_ext.weights.roles import IGNORE, Roles, roles_in
from nnunet_ext.weights.topology import moved_channel

logger = logging.getLogger(__name__)


def write_interpolated(old: Path, new: Path, weight: float, target: Path, *, plans_of_old: bool = False) -> list[str]:
    """Write the model (1 - weight) old + weight new, which stock nnU-Net predicts (WiSE-FT).

    It has the classes of both (:func:`nnunet_ext.weights.interpolation.interpolate`), and the plans of one: an image is
    prepared in one way only. Folds that both have are interpolated pair by pair.

    Args:
        old: Folder or zip file of the earlier model.
        new: That of the later one.
        weight: Share of ``new``, from 0 to 1.
        target: The folder to write.
        plans_of_old: Plans, mirroring and name of the dataset are those of ``old``.

    Returns:
        Names of the classes or regions in the order of the network's outputs.

    Raises:
        UserError: A model cannot be read; their networks differ; they have different regions, channels in another
            order, or no fold in common; ``target`` exists.
    """
    models = [TrainedModel.load(model) for model in (old, new)]
    folds = [fold for fold in models[0].folds if fold in models[1].folds]
    if not folds:
        raise UserError(
            f"{new}: expected a fold that {old} has too ({', '.join(models[0].folds)}), found "
            f"{', '.join(models[1].folds)}. Rename the fold's folder in a copy."
        )
    outputs = _outputs(old, new, models)
    kept = models[0 if plans_of_old else 1]
    _tell_differences(models, kept)
    checkpoints: dict[str, dict[str, Any]] = {}
    labels = _labels(models, outputs)
    dataset_json = kept.dataset_json | labels
    for fold in folds:
        before, after = (model.parameters[model.folds.index(fold)] for model in models)
        try:
            made = interpolate(before, after, weight, outputs)
        except ValueError as error:
            raise UserError(f"{old} and {new}, fold {fold}: {error}. Take a model and one trained from it.") from error
        trainer, made = _stock_if_plain(kept, dataset_json, made, target)
        checkpoints[fold] = {
            "network_weights": made,
            "trainer_name": trainer,
            "inference_allowed_mirroring_axes": kept.mirroring_axes,
            "init_args": {
                "plans": kept.plans_manager.plans,
                "configuration": kept.configuration_name,
                "fold": fold if fold == "all" else int(fold),
                "dataset_json": dataset_json,
            },
        }
    file = (old if plans_of_old else new) / "dataset_fingerprint.json"
    fingerprint = read_json(file) if file.is_file() else {}
    folder = ModelFolder(target, kept.plans_manager.plans, dataset_json, fingerprint)
    write_models([folder], checkpoints)
    return list(joined_outputs(*outputs))


def _roles(model: TrainedModel) -> Roles:
    plans = model.plans_manager.plans
    return roles_in({"plans": plans, "configuration": model.configuration_name, "dataset_json": model.dataset_json})


def _outputs(old: Path, new: Path, models: list[TrainedModel]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    roles = [_roles(model) for model in models]
    if (moved := moved_channel(roles[0].channels, roles[1].channels)) is not None:
        raise UserError(
            f"{new}: expected the channels in the order of {old}, found {moved}. Train the later model on images whose "
            f"channels are in the earlier model's order."
        )
    found: list[tuple[str, ...]] = []
    for model, role in zip((old, new), roles, strict=True):
        if role.outputs is None:
            raise UserError(
                f"{model}: expected a model whose outputs are labels or regions of dataset.json, found another. Take "
                f"the model of one dataset."
            )
        found.append(_spelled_as(found[0], role.outputs) if found else role.outputs)
    if any(role.are_regions for role in roles) and found[0] != found[1]:
        raise UserError(
            f"{new}: expected the regions of {old} ({', '.join(found[0])}), found {', '.join(found[1])}. Models with "
            f"regions must have the same, in the same order."
        )
    return found[0], found[1]


def _spelled_as(known: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return names; those that differ only in case from a known one are the same, as for the knob ``init_from``."""
    spelling = {name.casefold(): name for name in known if name not in names}
    return tuple(name if name in known else spelling.get(name.casefold(), name) for name in names)


def _labels(models: list[TrainedModel], outputs: tuple[tuple[str, ...], tuple[str, ...]]) -> dict[str, Any]:
    """Return what dataset.json says of the joined classes: old labels keep their numbers, new ones follow."""
    old, new = (model.dataset_json for model in models)
    joined = joined_outputs(*outputs)
    if joined == outputs[0]:
        return {key: old[key] for key in ("labels", "regions_class_order") if key in old}
    labels = {name: number for number, name in enumerate(joined)}
    if IGNORE in old["labels"] or IGNORE in new["labels"]:
        labels[IGNORE] = len(labels)
    return {"labels": labels}


def _stock_if_plain(
    kept: TrainedModel, dataset_json: dict[str, Any], weights: dict[str, Tensor], target: Path
) -> tuple[str, dict[str, Tensor]]:
    """Return nnU-Net's own trainer and network where it predicts the same, else the model's."""
    ours = ext_trainer(kept.trainer_name)
    if ours is None:
        return kept.trainer_name, weights
    plans, configuration = kept.plans_manager.plans, kept.configuration_name
    try:
        plain = plain_unet(ours, plans, configuration, dataset_json, weights, target)
    except NotPlainError as error:
        logger.warning("%s", error)
        return kept.trainer_name, weights
    return TRAINER, dict(plain.state_dict())


def _tell_differences(models: list[TrainedModel], kept: TrainedModel) -> None:
    """Log where the two models prepare images differently."""
    one, other = ((model.plans_manager.plans, model.configuration.configuration) for model in models)
    if differing := differing_preparation(one, other):
        logger.warning(
            "the models prepare images differently (%s): the new model does so as %s",
            ", ".join(differing),
            kept.plans_manager.dataset_name,
        )
