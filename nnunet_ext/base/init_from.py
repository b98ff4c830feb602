"""Start a network from another one's checkpoint, tensor by tensor."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nnunet_ext.base.checkpoints import read_checkpoint
from nnunet_ext.errors import UserError


def init_from(
    network: nn.Module,
    checkpoint_file: str,
    weights_of: Callable[[dict[str, Any]], Mapping[str, torch.Tensor]] = itemgetter("network_weights"),
) -> list[str]:
    """Copy every tensor of equal name and shape, in place, and tell each tensor's fate.

    nnU-Net's own ``-pretrained_weights`` is all or nothing, so a stock checkpoint could never start a network that has
    more than the stock one. This is the way in.

    Args:
        network: The bare network (not wrapped by DDP or torch.compile).
        checkpoint_file: nnU-Net checkpoint, stock or ours; ``~`` and ``$VARIABLES`` are expanded.
        weights_of: Takes the weights from the checkpoint, and may change their shapes to the network's.

    Returns:
        One line per tensor: ``loaded``, ``kept`` with the reason, or ``unused`` for what only the file has.

    Raises:
        UserError: The file is missing or broken, or not one tensor fits.
    """
    file = Path(os.path.expandvars(checkpoint_file)).expanduser()
    if not file.is_file():
        raise UserError(
            f"knob 'init_from': expected an nnU-Net checkpoint, found no file {str(file)!r}. Give its path."
        )
    weights = weights_of(read_checkpoint(file))
    own = network.state_dict()
    fates = []
    fitting: dict[str, torch.Tensor] = {}
    for name, tensor in own.items():
        if name not in weights:
            fates.append(f"kept    {name} {tuple(tensor.shape)}: not in the file")
        elif weights[name].shape != tensor.shape:
            fates.append(f"kept    {name} {tuple(tensor.shape)}: the file has {tuple(weights[name].shape)}")
        else:
            fates.append(f"loaded  {name} {tuple(tensor.shape)}")
            fitting[name] = weights[name]
    fates += [f"unused  {name} {tuple(weights[name].shape)}: not in the network" for name in weights if name not in own]
    if not fitting:
        raise UserError(
            f"{file}: expected tensors that fit the network, found none. Use a checkpoint of the same plans."
        )
    network.load_state_dict(fitting, strict=False)
    return fates
