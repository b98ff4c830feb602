"""Channel dropout follows the width of the network unless the plans say how much."""

from __future__ import annotations

import pytest
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

from nnunet_ext.networks.channel_dropout import channel_dropout


def unet(features: int) -> PlainConvUNet:
    return PlainConvUNet(1, 2, (features, 2 * features), nn.Conv2d, 3, (1, 2), 1, 2, 1)


@pytest.mark.parametrize(
    ("knob", "features", "expected"),
    [(None, 8, 0.0), (None, 15, 0.0), (None, 16, 0.3), (None, 32, 0.3), (0.25, 8, 0.25), (0.0, 32, 0.0)],
)
def test_networks_narrower_than_the_authors_drop_nothing_unless_asked(knob, features, expected):
    assert channel_dropout(knob, 0.3, unet(features)) == expected
