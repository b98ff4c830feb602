"""v1's plain U-Net in v2's: kernels, and weights that have no place."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn
from v1_model import KERNELS, POOLS, unet_weights

from nnunet_ext.import_v1.plain_weights import common_kernels, load_v1_weights


def network(kernels: list[list[int]]) -> PlainConvUNet:
    strides = [[1, 1, 1], *POOLS]
    sizes = (1, 3, (2, 4, 6), nn.Conv3d, kernels, strides, 2, 3, 2, True)
    return PlainConvUNet(*sizes, norm_op=nn.InstanceNorm3d, norm_op_kwargs={"affine": True}, nonlin=nn.LeakyReLU)


def test_common_kernels() -> None:
    assert common_kernels(KERNELS) == [[3, 3, 3]] * 3
    assert common_kernels([[1, 3, 3], [1, 3, 3], [3, 3, 3]]) == [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
    assert common_kernels([[1, 3, 1], [3, 1, 1]]) == [[3, 3, 1], [3, 1, 1]]


def test_smaller_kernels_are_in_the_middle() -> None:
    net = network([[3, 3, 3]] * 3)
    weights = unet_weights()
    load_v1_weights(net, weights)
    inner = net.encoder.stages[0][0].convs[0].conv.weight
    assert torch.equal(inner[:, :, 1], weights["conv_blocks_context.0.blocks.0.conv.weight"][:, :, 0])
    assert not inner[:, :, [0, 2]].any()
    assert not net.decoder.seg_layers[1].bias.any()


def test_other_weights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'conv_blocks_localization.1.0\S+' of shape \(2, 4, 1, 3, 3\)"):
        load_v1_weights(network(KERNELS), unet_weights())
    with pytest.raises(ValueError, match="1 tensors are left over: \\['extra'\\]"):
        load_v1_weights(network([[3, 3, 3]] * 3), unet_weights() | {"extra": torch.zeros(1)})
