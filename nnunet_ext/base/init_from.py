"""Initialize a network from another one's checkpoint, tensor by tensor."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_ext.base.checkpoints import read_checkpoint
from nnunet_ext.errors import UserError


def init_from(
    network: nn.Module,
    checkpoint_file: str,
    weights_of: Callable[[dict[str, Any]], Mapping[str, Tensor]] = itemgetter("network_weights"),
) -> list[str]:
    """Copy every tensor of equal name and shape, in place, and report what happened to each tensor.

    nnU-Net's own ``-pretrained_weights`` is all or nothing, so it cannot load a stock checkpoint into a network that
    has more tensors than the stock one. This function can.

    Args:
        network: The bare network (not wrapped by DDP or torch.compile).
        checkpoint_file: nnU-Net checkpoint, stock or ours; ``~`` and ``$VARIABLES`` are expanded.
        weights_of: Takes the weights from the checkpoint, may change their shapes to the network's, and may leave out
            what would not work there.

    Returns:
        One line per tensor: ``loaded``, ``adapted`` where a part of the file's values went in, ``kept`` with the
        reason, or ``unused`` for what only the file has.

    Raises:
        UserError: The file is missing or broken, or no tensor fits.
    """
    file = Path(os.path.expandvars(checkpoint_file)).expanduser()
    if not file.is_file():
        raise UserError(
            f"knob 'init_from': expected an nnU-Net checkpoint, found no file {str(file)!r}. Give its path."
        )
    checkpoint = read_checkpoint(file)
    in_file: Mapping[str, Tensor] = checkpoint["network_weights"]
    weights = weights_of(checkpoint)
    own = network.state_dict()
    misfits = {name: _misfit(tensor, weights.get(name), in_file.get(name)) for name, tensor in own.items()}
    fates = []
    for name, tensor in own.items():
        if misfits[name] is not None:
            fates.append(f"kept    {name} {_shape(tensor)}: {misfits[name]}")
        elif name in in_file and _same(weights[name], in_file[name]):
            fates.append(f"loaded  {name} {_shape(tensor)}")
        else:
            fates.append(f"adapted {name} {_shape(tensor)}: the file has {_shape(in_file.get(name))}")
    fates += [f"unused  {name} {_shape(in_file[name])}: not in the network" for name in in_file if name not in own]
    fitting = {name: weights[name] for name, misfit in misfits.items() if misfit is None}
    if not fitting:
        raise UserError(
            f"{file}: expected tensors that fit the network, found none. Use a checkpoint of the same plans."
        )
    network.load_state_dict(fitting, strict=False)
    return fates


def _misfit(own: Any, offered: Any, in_file: Any) -> str | None:
    """Return why a tensor is not loaded, or None if it is."""
    if in_file is None and offered is None:
        return "not in the file"
    if offered is None:
        return f"the file has {_shape(in_file)}, of a part that does not fit as a whole"
    if _shape(offered) != _shape(own):
        return f"the file has {_shape(in_file)}"
    return None


def _same(one: Any, other: Any) -> bool:
    return one is other or (torch.is_tensor(one) and torch.is_tensor(other) and torch.equal(one, other))


def _shape(value: Any) -> str:
    """Shape of a tensor, or the type of other state."""
    return str(tuple(value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__
