"""What trains without labels before a fine-tuning: new parameters of a network restore hidden blocks of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nnunet_ext.base.optimizers import Schedule

Parameters: TypeAlias = Mapping[str, nn.Parameter]


class Restores(nn.Module):
    """A segmentation network whose features at full resolution become images; its own heads do not matter.

    Args:
        network: A U-Net with ``decoder.seg_layers``, the last of them at full resolution.
        channels: Of an image.

    Example:
        >>> import torch
        >>> from dynamic_network_architectures.architectures.unet import PlainConvUNet
        >>> from torch import nn
        >>> from nnunet_ext.methods.fine_tune.pretext import Restores
        >>> network = PlainConvUNet(1, 3, (4, 8, 8), nn.Conv2d, 3, (1, 2, 2), 1, 5, 1)
        >>> Restores(network, channels=1)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(self, network: Any, channels: int) -> None:
        super().__init__()
        last = network.decoder.seg_layers[-1]
        self.network = network
        self.head = type(last)(last.in_channels, channels, 1).to(last.weight.device)

    def forward(self, images: Tensor) -> Tensor:
        """Return the restored images (B, C, D, H, W).

        Args:
            images: (B, C, D, H, W), or (B, C, H, W) in 2d.
        """
        features: list[Tensor] = []
        last: nn.Module = self.network.decoder.seg_layers[-1]
        handle = last.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
        try:
            self.network(images)
        finally:
            handle.remove()
        restored: Tensor = self.head(features[0])
        return restored


class Pretext:
    """The network that restores images, while nothing but its new parameters and its head trains.

    Args:
        network: The bare network.
        new: Those of its parameters that train.
        channels: Of an image.
        wrapped: The network as the trainer has it: if DDP wraps it, DDP wraps this one, too.
    """

    optimizer: torch.optim.Optimizer
    schedule: Schedule

    def __init__(self, network: nn.Module, new: Parameters, channels: int, wrapped: nn.Module) -> None:
        kept = {id(parameter) for parameter in new.values()}
        self._idle = [each for each in network.parameters() if each.requires_grad and id(each) not in kept]
        for parameter in self._idle:
            parameter.requires_grad_(False)  # else its gradient would count where gradients are clipped
        self._bare = Restores(network, channels)
        self.parameters = [*new.values(), *self._bare.head.parameters()]
        self.network: nn.Module = self._bare
        if isinstance(wrapped, DistributedDataParallel):
            self.network = DistributedDataParallel(self._bare, device_ids=wrapped.device_ids)

    def state(self) -> dict[str, Any]:
        """Return what a training resumes with, besides the network's own weights."""
        return {"head": self._bare.head.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state` returned."""
        self._bare.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])

    def end(self) -> None:
        """Let everything train again that did before."""
        for parameter in self._idle:
            parameter.requires_grad_(True)
