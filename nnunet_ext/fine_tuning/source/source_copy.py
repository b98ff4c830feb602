"""A copy of what a fine-tuning needs of its source, beside the plans that name it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnunet_ext.errors import UserError, is_write_error, one_line
from nnunet_ext.files.json_file import whole_file
from nnunet_ext.fine_tuning.source.plain_json import plain_json
from nnunet_ext.fine_tuning.source.source_model import SourceModel
from nnunet_ext.foreign.checkpoint import read_foreign_checkpoint
from nnunet_ext.nnssl.encoder_weights import KEY
from nnunet_ext.weights.places import same

NAME = "checkpoint.pth"


def write_source_copy(source: SourceModel, folder: Path) -> Path:
    """Write weights, plans, dataset.json and mirroring axes of a model as a checkpoint, atomically.

    A zip file or a model's folder may be moved afterwards. The file has only tensors and JSON, so that
    ``torch.load(file, weights_only=True)`` reads it; optimizer, log and the rest of a training are left out.

    Args:
        source: The model.
        folder: Where; made if it is missing.

    Returns:
        The file.

    Raises:
        UserError: It cannot be written; a copy that was there is unchanged.
    """
    file = folder / NAME
    content = _description(source) | {
        "network_weights": _compact(source.weights),
        "trainer_name": source.trainer,
        "inference_allowed_mirroring_axes": source.mirroring_axes,
    }
    try:
        folder.mkdir(exist_ok=True)
        with whole_file(file) as partial:
            torch.save(content, partial)
            with partial.open("rb+") as stream:
                os.fsync(stream.fileno())
    except (OSError, RuntimeError) as error:
        if isinstance(error, UserError) or not is_write_error(error):
            raise
        raise UserError(
            f"{file}: expected to write a copy of the source's weights, got {one_line(error)!r}. Free space or correct "
            f"the permissions of its folder."
        ) from error
    return file


def is_copy_of(folder: Path, source: SourceModel) -> bool:
    """Whether a folder holds what :func:`write_source_copy` wrote of a model with the same weights.

    Args:
        folder: That of the copy.
        source: The model.

    Raises:
        UserError: The copy cannot be read.
    """
    file = folder / NAME
    if not file.is_file():
        return False
    theirs = read_foreign_checkpoint(file)["network_weights"]
    return theirs.keys() == source.weights.keys() and all(
        same(tensor.cpu(), theirs[name]) for name, tensor in source.weights.items()
    )


def _description(source: SourceModel) -> dict[str, Any]:
    """Return plans and dataset.json, or the adaptation plan of a pre-training, under the keys of a checkpoint."""
    if source.pretraining is not None:
        return {KEY: plain_json(source.pretraining.of_encoder_alone(source.architecture))}
    arguments: dict[str, Any] = {"plans": source.plans, "configuration": source.configuration_name}
    if source.dataset_json is not None:
        arguments["dataset_json"] = source.dataset_json
    return {"init_args": plain_json(arguments)}


def _compact(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors, so that no larger storage is saved with one; those with several names stay one."""
    copies: dict[tuple[Any, ...], Tensor] = {}
    found = {}
    for name, tensor in weights.items():
        key = (
            tensor.untyped_storage().data_ptr(),
            tensor.storage_offset(),
            tensor.shape,
            tensor.stride(),
            tensor.dtype,
        )
        if key not in copies:
            copies[key] = tensor.detach().cpu().clone()
        found[name] = copies[key]
    return found
