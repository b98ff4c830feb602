"""MC-Net+: stock parts, three decoders, gradients, over plain and ResEnc, 2d and 3d."""

from __future__ import annotations

import copy

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from small_unet import GEOMETRIES, small_unet
from torch import Tensor, nn

from nnunet_ext.methods.mc_net_plus.architecture import MCNetPlus, MCNetPlusOutput


def unet(kind: str, geometry: str, *, deep_supervision: bool = False) -> PlainConvUNet | ResidualEncoderUNet:
    return small_unet(
        kind,
        *GEOMETRIES[geometry][:2],
        channels=2,
        convolutions=[1, 2, 2],
        decoder_convolutions=[2, 1],
        deep_supervision=deep_supervision,
    )


def images(geometry: str) -> Tensor:
    return torch.randn(2, 2, *GEOMETRIES[geometry][2])


def test_encoder_and_first_decoder_are_the_plans_own_bit_by_bit(kind, geometry):
    stock = unet(kind, geometry, deep_supervision=True)
    network = MCNetPlus(copy.deepcopy(stock)).eval()
    own = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(("encoder.", "decoder."))}
    assert list(own) == list(stock.state_dict())
    assert all(torch.equal(own[name], tensor) for name, tensor in stock.state_dict().items())
    x = images(geometry)
    for mine, theirs in zip(network(x), stock.eval()(x), strict=True):
        assert torch.equal(mine, theirs)
    network.decoder.deep_supervision = stock.decoder.deep_supervision = False
    assert torch.equal(network(x), stock(x))


def test_train_mode_returns_three_different_decoders_the_first_one_first(kind, geometry):
    network = MCNetPlus(unet(kind, geometry, deep_supervision=True), dropout=0.0).train()
    x = images(geometry)
    output = network(x)
    assert isinstance(output, MCNetPlusOutput)
    assert [tuple(logits.shape) for logits in output.logits] == [(2, 3, *GEOMETRIES[geometry][2])] * 3
    assert torch.equal(output.logits[0], network.eval()(x)[0])
    assert [decoder.transpconvs[0][0].mode for decoder in network.further_decoders] == [
        "bilinear" if geometry == "2d" else "trilinear",
        "nearest",
    ]


def test_every_trained_parameter_receives_a_finite_gradient(kind, geometry):
    network = MCNetPlus(unet(kind, geometry), dropout=0.0).train()
    sum(logits.square().mean() for logits in network(images(geometry)).logits).backward()
    frozen = set()
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            frozen.add(name)
            continue
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0 or name.endswith("conv.bias"), name  # instance norm removes a bias
    assert frozen == {"decoder.seg_layers.0.weight", "decoder.seg_layers.0.bias"}


def test_decoders_do_not_see_each_other():
    network = MCNetPlus(unet("plain", "3d"), dropout=0.0).train()
    network(images("3d")).logits[2].square().mean().backward()
    reached = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert {name.partition(".")[0] for name in reached} == {"encoder", "further_decoders"}
    assert not [name for name in reached if name.startswith("further_decoders.0.")]


def test_dropout_is_drawn_in_train_mode_only_at_the_bottleneck_and_before_heads():
    network = MCNetPlus(unet("plain", "3d"), dropout=1.0).train()
    seen = []
    for module in (network.decoder.transpconvs[0], network.decoder.seg_layers[-1]):
        module.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].abs().sum().item()))
    for decoder in network.further_decoders:
        decoder.seg_layers[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].abs().sum().item()))
    network(images("3d"))
    assert seen == [0.0] * 4
    seen.clear()
    network.eval()(images("3d"))
    assert len(seen) == 2
    assert min(seen) > 0


def test_what_is_not_stock_is_named_apart_and_heads_as_nnunet_knows_them(kind):
    stock = unet(kind, "3d").state_dict()
    network = MCNetPlus(unet(kind, "3d"))
    added = {name for name in network.state_dict() if name not in stock}
    assert {name.split(".")[0] for name in added} == {"further_decoders"}
    assert {f"further_decoders.{number}.seg_layers.0.weight" for number in (0, 1)} <= added
    assert not list(network.buffers())


def test_feature_map_size_counts_all_decoders():
    """By hand, of two decoders: on (4, 8, 8) a convolution of 4 features, up-sampling from 6, 3 logits of 3 each; on
    (4, 4, 4) two of 6, up-sampling from 8. Of three: 4 features after dropout and 3 x 2 probabilities."""
    stock = unet("plain", "3d anisotropic")
    added = 2 * (4 * 8 * 8 * (4 + (4 * 4 + 6) // 2 + 3 * 3) + 4 * 4 * 4 * (2 * 6 + (4 * 6 + 8) // 2))
    added += 3 * 4 * 8 * 8 * (4 // 2 + 3 * 2)
    expected = stock.compute_conv_feature_map_size((4, 8, 8)) + added
    assert MCNetPlus(stock).compute_conv_feature_map_size((4, 8, 8)) == expected


def test_foreign_networks_are_refused():
    with pytest.raises(TypeError, match="expected plans of a PlainConvUNet or ResidualEncoderUNet, got Conv3d"):
        MCNetPlus(nn.Conv3d(1, 1, 1))
