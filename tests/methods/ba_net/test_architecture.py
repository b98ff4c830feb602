"""BANet: shapes, gate, gradients and names, over plain and ResEnc, 2d and 3d, any strides."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from small_unet import GEOMETRIES, small_unet
from torch import nn
from torch.testing import assert_close

from nnunet_ext.methods.ba_net.architecture import BANet, BANetOutput


def unet(kind: str, geometry: str, *, deep_supervision: bool = True, **further) -> PlainConvUNet | ResidualEncoderUNet:
    return small_unet(
        kind,
        *GEOMETRIES[geometry][:2],
        channels=2,
        convolutions=[1, 2, 2],
        decoder_convolutions=[2, 1],
        deep_supervision=deep_supervision,
        **further,
    )


def test_train_mode_returns_both_decoders_and_eval_mode_what_stock_returns(kind, geometry):
    size = GEOMETRIES[geometry][2]
    coarse = [length // step for length, step in zip(size, GEOMETRIES[geometry][0][1], strict=True)]
    network = BANet(unet(kind, geometry))
    x = torch.randn(2, 2, *size)
    output = network.train()(x)
    assert isinstance(output, BANetOutput)
    assert [tuple(t.shape) for t in output.segmentation] == [(2, 3, *size), (2, 3, *coarse)]
    assert [tuple(t.shape) for t in output.boundary] == [(2, 2, *size), (2, 2, *coarse)]
    logits = network.eval()(x)
    assert isinstance(logits, list)
    network.decoder.deep_supervision = False
    assert_close(network(x), logits[0])
    single = network.train()(x)
    assert_close(single.segmentation, logits[0])
    assert single.boundary.shape == (2, 2, *size)


def test_every_parameter_receives_a_finite_gradient(kind, geometry):
    network = BANet(unet(kind, geometry)).train()
    output = network(torch.randn(2, 2, *GEOMETRIES[geometry][2]))
    sum(logits.square().mean() for logits in (*output.segmentation, *output.boundary)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0 or name.endswith("conv.bias"), name  # instance norm removes a bias


def test_segmentation_gradients_reach_the_boundary_decoder(kind):
    network = BANet(unet(kind, "3d")).train()
    network(torch.randn(1, 2, 8, 8, 8)).segmentation[0].square().mean().backward()
    for layer in network.boundary_decoder.boundary_layers:
        assert layer.weight.grad.abs().sum() > 0


def test_the_gate_is_one_plus_the_boundary_probability():
    """With boundary heads of 0 the gate is 1.5 everywhere: as if a plain U-Net's upsampled features were 1.5 x."""
    stock = unet("plain", "3d", deep_supervision=False).eval()
    network = BANet(stock).eval()
    for layer in network.boundary_decoder.boundary_layers:
        nn.init.zeros_(layer.weight)
    x = torch.randn(1, 2, 8, 8, 8)
    gated = network(x)
    with torch.no_grad():
        for upsampling in stock.decoder.transpconvs:
            upsampling.weight *= 1.5
            upsampling.bias *= 1.5
    assert_close(gated, stock(x))


def test_encoder_and_decoder_keep_their_stock_names(kind):
    stock = unet(kind, "3d")
    names = set(BANet(unet(kind, "3d")).state_dict())
    assert set(stock.state_dict()) <= names
    added = {name.split(".")[0] for name in names - set(stock.state_dict())}
    assert added == {"boundary_decoder"}
    assert not any("boundary_decoder" in name and ".seg_layers." in name for name in names)
    assert not list(BANet(unet(kind, "3d")).buffers())


def test_boundary_heads_have_two_channels_and_no_bias():
    layers = BANet(unet("plain", "3d")).boundary_decoder.boundary_layers
    assert [tuple(layer.weight.shape) for layer in layers] == [(2, 6, 1, 1, 1), (2, 4, 1, 1, 1)]
    assert all(layer.bias is None for layer in layers)


def test_feature_map_size_counts_the_boundary_decoder():
    """By hand: stages of 6 features on 4^3 (2 convolutions, upsampling) and 4 on 8^3 (1 convolution, upsampling); a
    gate keeps half of (the features, itself, 2 x 2 for probabilities in float32)."""
    stock = unet("plain", "3d")
    added = (4**3 * (2 * (2 * 6 + 6 + 2) + 6 + 1 + 4) + 8**3 * (2 * (4 + 4 + 2) + 4 + 1 + 4)) // 2
    assert (
        BANet(stock).compute_conv_feature_map_size((8, 8, 8)) == stock.compute_conv_feature_map_size((8, 8, 8)) + added
    )


def test_order_of_norm_and_nonlinearity_is_the_plans():
    network = BANet(unet("plain", "3d", nonlin_first=True))
    modules = [type(module) for module in network.boundary_decoder.stages[0].convs[0].all_modules]
    assert modules == [nn.Conv3d, nn.LeakyReLU, nn.InstanceNorm3d]


def test_foreign_networks_and_wrong_kernel_lists_are_refused():
    with pytest.raises(TypeError, match="expected plans of a PlainConvUNet or ResidualEncoderUNet, got Conv3d"):
        BANet(nn.Conv3d(1, 1, 1))
    with pytest.raises(ValueError, match="expected 2 decoder kernel sizes"):
        BANet(unet("plain", "3d"), decoder_kernel_sizes=[[3, 3, 3]])
