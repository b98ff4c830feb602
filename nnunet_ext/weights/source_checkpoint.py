"""The checkpoint that a training starts from, read without running code of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nnunet_ext.errors import UserError
from nnunet_ext.foreign.checkpoint import read_foreign_checkpoint
from nnunet_ext.weights.unwrapped import unwrapped


def source_checkpoint(checkpoint_file: str) -> tuple[Path, dict[str, Any]]:
    """Return the file that the knob ``init_from`` names and its content, the weights under ``network_weights``.

    Args:
        checkpoint_file: A checkpoint of nnU-Net, stock or ours, or a file with nothing but weights: tensors by name,
            alone or under the key ``state_dict``. ``~`` and ``$VARIABLES`` are expanded.

    Raises:
        UserError: The file is missing or broken, or holds no weights.
    """
    file = Path(os.path.expandvars(checkpoint_file)).expanduser()
    if not file.is_file():
        raise UserError(
            f"knob 'init_from': expected an nnU-Net checkpoint, found no file {str(file)!r}. Give its path."
        )
    return file, _checkpoint(read_foreign_checkpoint(file), file)


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
