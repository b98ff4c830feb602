"""Start a network from another one's checkpoint, and say of every tensor what happened to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nnunet_ext.errors import UserError
from nnunet_ext.foreign.checkpoint import read_foreign_checkpoint
from nnunet_ext.weights.roles import Roles, roles_of
from nnunet_ext.weights.transfer import Transfer, transfer
from nnunet_ext.weights.unwrapped import unwrapped

COLLECTION = "collection"  # key in plans: heads belong to tasks there, not to the labels of dataset.json
TASK = "task"  # key in that block: a view, whose channels are those of dataset.json


def init_from(
    network: nn.Module,
    checkpoint_file: str,
    weights_of: Callable[[dict[str, Any]], Mapping[str, Any]] = itemgetter("network_weights"),
    init_args: Mapping[str, Any] | None = None,
) -> Transfer:
    """Fill a network, in place, with what fits of a checkpoint (:func:`nnunet_ext.weights.transfer.transfer`).

    nnU-Net's own ``-pretrained_weights`` is all or nothing, and always leaves the heads out. This function takes what
    it can, and matches channels and heads by name if the checkpoint says what they are.

    Args:
        network: The bare network (not wrapped by DDP or torch.compile).
        checkpoint_file: A checkpoint of nnU-Net, stock or ours, or a file with nothing but weights: tensors by name,
            alone or under the key ``state_dict``. ``~`` and ``$VARIABLES`` are expanded. No code in it is run.
        weights_of: Takes the weights from the checkpoint, may change their shapes to the network's, and may leave out
            what would not work there.
        init_args: Arguments of the network's trainer, with ``plans``, ``configuration`` and ``dataset_json``; None: the
            network's channels and labels are unknown.

    Returns:
        Every tensor's fate.

    Raises:
        UserError: The file is missing or broken, holds no weights or two values of one tensor, or no tensor fits.
    """
    file = Path(os.path.expandvars(checkpoint_file)).expanduser()
    if not file.is_file():
        raise UserError(
            f"knob 'init_from': expected an nnU-Net checkpoint, found no file {str(file)!r}. Give its path."
        )
    checkpoint = _checkpoint(read_foreign_checkpoint(file), file)
    in_file = checkpoint["network_weights"]
    offered = weights_of(checkpoint)
    source, target = roles_in(checkpoint.get("init_args")), roles_in(init_args)
    adopted = None if offered is in_file else offered
    try:
        done = transfer(network, in_file, source=source, target=target, adopted=adopted)
    except ValueError as error:
        raise UserError(f"{file}: {error}.") from error
    if not done.took_anything:
        reason = next((fate.reason for fate in done.fates if fate.source is not None), "no name is the network's")
        raise UserError(
            f"{file}: expected tensors that fit the network, found none ({reason}). Use a checkpoint of similar plans."
        )
    return done


def roles_in(init_args: Any) -> Roles:
    """Return the roles that the arguments of a trainer tell; what they do not tell is unknown.

    Args:
        init_args: As nnU-Net keeps them in a checkpoint, with ``plans``, ``configuration`` and ``dataset_json``.
    """
    arguments = init_args if isinstance(init_args, Mapping) else {}
    plans, dataset_json = arguments.get("plans"), arguments.get("dataset_json")
    if not isinstance(plans, Mapping) or not isinstance(dataset_json, Mapping):
        return Roles()
    roles = roles_of(dataset_json, cascade=_is_cascade(plans, arguments.get("configuration")))
    if COLLECTION in plans:
        return Roles(channels=roles.channels if TASK in plans[COLLECTION] else None)
    return roles


def _is_cascade(plans: Mapping[str, Any], configuration: Any) -> bool:
    """Whether a configuration, or one that it inherits from, has a previous stage."""
    configurations, seen = plans.get("configurations", {}), set()
    while configuration in configurations and configuration not in seen:
        seen.add(configuration)
        block = configurations[configuration]
        if "previous_stage" in block:
            return block["previous_stage"] is not None
        configuration = block.get("inherits_from")
    return False


def _checkpoint(content: Any, file: Path) -> dict[str, Any]:
    """Return a checkpoint whose weights have the network's names, also for a file with nothing but weights."""
    checkpoint = content if isinstance(content, dict) else {}
    weights = checkpoint.get("network_weights", checkpoint.get("state_dict", checkpoint))
    if not isinstance(weights, Mapping) or not any(isinstance(value, torch.Tensor) for value in weights.values()):
        raise UserError(
            f"{file}: expected a checkpoint with 'network_weights', or tensors by name, found neither. Give the "
            f"checkpoint of a training."
        )
    return checkpoint | {"network_weights": unwrapped(weights)}
