"""The two kinds of U-Net that methods can build on."""

from __future__ import annotations

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn


def check_unet(network: nn.Module) -> PlainConvUNet | ResidualEncoderUNet:
    """Return the network if it is one of the two that nnU-Net plans.

    Raises:
        TypeError: It is neither a PlainConvUNet nor a ResidualEncoderUNet.
    """
    if not isinstance(network, PlainConvUNet | ResidualEncoderUNet):
        raise TypeError(f"expected plans of a PlainConvUNet or ResidualEncoderUNet, got {type(network).__name__}")
    return network
