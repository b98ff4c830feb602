"""How many channels semi-supervised networks drop."""

from __future__ import annotations

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet

FEATURES = 16  # at full resolution, of the V-Net of the semi-supervised papers


def channel_dropout(knob: float | None, authors: float, unet: PlainConvUNet | ResidualEncoderUNet) -> float:
    """Return the share of channels to drop.

    Where the plans say nothing it is the authors' for networks as wide as theirs, 16 features at full resolution, and
    none for narrower ones, such as those of ``LitePlanner``: with 8 features, dropping costs more than it gains (see
    docs/results.md).

    Args:
        knob: What the plans say; None: nothing.
        authors: What the authors drop.
        unet: The network that the plans describe.
    """
    if knob is not None:
        return knob
    return authors if unet.encoder.output_channels[0] >= FEATURES else 0.0
