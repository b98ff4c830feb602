"""The two models whose features a sequential fine-tuning follows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_ext.base.checkpoints import read_checkpoint
from nnunet_ext.errors import UserError
from nnunet_ext.methods.sequential_fine_tuning.architecture import FeatureUNet
from nnunet_ext.weights.interpolation import interpolate
from nnunet_ext.weights.topology import first_difference
from nnunet_ext.weights.unwrapped import unwrapped


def read_model(file: str, knob: str) -> dict[str, Any]:
    """Return a checkpoint with the bare network's names.

    Args:
        file: The file; ``~`` and ``$VARIABLES`` are expanded.
        knob: The knob that names it, for messages.

    Raises:
        UserError: It is missing, or no checkpoint.
    """
    path = Path(os.path.expandvars(file)).expanduser()
    if not path.is_file():
        raise UserError(f"knob {knob!r}: expected an nnU-Net checkpoint, found no file {str(path)!r}. Give its path.")
    checkpoint = read_checkpoint(path)
    return checkpoint | {"network_weights": unwrapped(checkpoint["network_weights"])}


@dataclass(frozen=True)
class Teachers:
    """The two models, frozen and in eval mode; they are in no checkpoint of the training.

    Args:
        earlier: The model that the training starts from.
        task: The model that was fine-tuned on the new data. Its heads are those of ``earlier`` and mean nothing: only
            its features are used.
    """

    earlier: FeatureUNet
    task: FeatureUNet

    @classmethod
    def load(
        cls, networks: tuple[nn.Module, nn.Module], weights: tuple[Mapping[str, Tensor], Mapping[str, Tensor]]
    ) -> Teachers:
        """Fill two networks of the training's plans with the weights of the knobs ``init_from`` and ``task_model``.

        Raises:
            UserError: A model has another network; all models of a chain must have the same.
        """
        files = ("knob 'init_from'", "knob 'sequential_fine_tuning.task_model'")
        earlier, task = (dict(each) for each in weights)
        for network, found, file, heads in zip(networks, (earlier, task), files, (True, False), strict=True):
            if (difference := first_difference(network.state_dict(), found, heads=heads)) is not None:
                raise UserError(
                    f"{file}: expected the network of these plans and labels, found {difference}. All models of a "
                    f"chain need one network: plan with nnunet_ext plan_finetune."
                )
        task |= {name: tensor for name, tensor in earlier.items() if "seg_layers" in name.split(".")}
        for network, found in zip(networks, (earlier, task), strict=True):
            network.load_state_dict(found)
            network.eval().requires_grad_(False)
        first, second = networks
        assert isinstance(first, FeatureUNet)
        assert isinstance(second, FeatureUNet)
        return cls(first, second)

    @torch.no_grad()
    def interpolated(self, network: nn.Module, weight: float) -> nn.Module:
        """Fill a network with the weights between both models, and the earlier one's heads.

        Args:
            network: Of the same plans.
            weight: Share of the task's model.
        """
        network.load_state_dict(interpolate(self.earlier.state_dict(), self.task.state_dict(), weight))
        return network.eval().requires_grad_(False)

    def are_equal(self) -> bool:
        """Whether both have the same weights, so that there is nothing to take over."""
        pairs = zip(self.earlier.state_dict().values(), self.task.state_dict().values(), strict=True)
        return all(torch.equal(one, other) for one, other in pairs)

    def digest(self) -> str:
        """Return a hash of the weights of both."""
        found = hashlib.sha256()
        for network in (self.earlier, self.task):
            for parameter in network.parameters():
                found.update(parameter.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()
