"""CoTr: shapes, gradients, names, what the transformer sees and replaces; plain and ResEnc, 2d and 3d, any strides."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from small_unet import GEOMETRIES, small_unet
from torch import nn
from torch.testing import assert_close

from nnunet_ext.methods.cotr.architecture import CoTr

SMALL = {"layers": 2, "heads": 2, "points": 2, "width": 12}


def unet(
    kind: str, geometry: str, *, deep_supervision: bool = True, features: tuple[int, ...] = (4, 6, 8)
) -> PlainConvUNet | ResidualEncoderUNet:
    return small_unet(
        kind,
        *GEOMETRIES[geometry][:2],
        features=features,
        channels=2,
        convolutions=[1, 2, 2],
        decoder_convolutions=[2, 1],
        deep_supervision=deep_supervision,
    )


def test_returns_what_stock_returns(kind, geometry):
    size = GEOMETRIES[geometry][2]
    coarse = [length // step for length, step in zip(size, GEOMETRIES[geometry][0][1], strict=True)]
    network = CoTr(unet(kind, geometry), **SMALL)
    x = torch.randn(2, 2, *size)
    for mode in (True, False):
        assert [tuple(scale.shape) for scale in network.train(mode)(x)] == [(2, 3, *size), (2, 3, *coarse)]
    scales = network(x)
    network.decoder.deep_supervision = False
    assert_close(network(x), scales[0])


def test_every_parameter_receives_a_finite_gradient(kind, geometry):
    torch.manual_seed(0)
    network = CoTr(unet(kind, geometry), **SMALL).train()
    for layer in network.transformer.layers:
        nn.init.normal_(layer.attention.offsets.weight, std=0.1)  # 0 at the start: the first queries have no effect
    output = network(torch.randn(2, 2, *GEOMETRIES[geometry][2]))
    sum(logits.square().mean() for logits in output).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0 or name.endswith("conv.bias"), name  # instance norm removes a bias


@torch.no_grad()
def test_the_decoder_gets_two_levels_from_the_transformer_and_finer_ones_from_the_encoder():
    """A transformer and projections that pass all through leave a stock network."""
    stock = unet("plain", "3d", deep_supervision=False).eval()
    network = CoTr(stock, **SMALL).eval()
    x = torch.randn(1, 2, *GEOMETRIES["3d"][2])
    seen = []
    network.transformer.register_forward_hook(lambda _, given, __: seen.extend(given[0]))
    assert (network(x) - stock(x)).abs().mean() > 0.01
    assert [tuple(level.shape) for level in seen] == [(1, 12, 4, 8, 6), (1, 12, 2, 4, 3)]

    network.transformer.register_forward_hook(lambda _, given, __: list(given[0]))
    for into, out_of in zip(network.into, network.out_of, strict=True):
        for projection in (into, out_of):
            nn.init.dirac_(projection.weight)
    assert_close(network(x), stock(x))


def test_no_projection_where_the_encoder_has_the_width():
    network = CoTr(unet("plain", "3d", features=(4, 12, 12)), **SMALL)
    assert all(isinstance(part, nn.Identity) for part in (*network.into, *network.out_of))
    network = CoTr(unet("plain", "3d", features=(4, 6, 12)), **SMALL)
    assert [isinstance(part, nn.Identity) for part in network.into] == [False, True]


@pytest.mark.parametrize(("bottleneck", "width"), [(320, 384), (384, 384), (64, 96), (512, 576)])
def test_usual_width_is_the_bottlenecks_rounded_up(bottleneck, width):
    with torch.device("meta"):
        transformer = CoTr(unet("plain", "3d", features=(4, 6, bottleneck))).transformer
    assert transformer.level_embedding.shape == (2, width)


def test_as_large_as_the_authors_transformer():
    """9.32 million parameters for features of 384 channels, as measured in their network."""
    with torch.device("meta"):
        transformer = CoTr(unet("plain", "3d", features=(64, 384, 384))).transformer
    assert sum(part.numel() for part in transformer.parameters()) == pytest.approx(9.32e6, abs=5e3)


def test_levels_can_be_more_but_never_full_resolution():
    network = CoTr(unet("plain", "3d"), levels=1, **SMALL)
    assert len(network.into) == 1
    assert network(torch.randn(1, 2, *GEOMETRIES["3d"][2]))[0].shape == (1, 3, *GEOMETRIES["3d"][2])
    assert len(CoTr(unet("plain", "3d"), levels=5, **SMALL).into) == 2


def test_encoder_and_decoder_keep_their_stock_names(kind):
    stock = unet(kind, "3d")
    names = set(CoTr(unet(kind, "3d"), **SMALL).state_dict())
    assert set(stock.state_dict()) <= names
    assert {name.split(".")[0] for name in names - set(stock.state_dict())} == {"into", "out_of", "transformer"}
    assert not list(CoTr(unet(kind, "3d"), **SMALL).buffers())


def test_feature_map_size_counts_transformer_and_projections():
    stock = unet("plain", "3d")
    network = CoTr(stock, **SMALL)
    added = network.transformer.compute_conv_feature_map_size([(4, 4, 4), (2, 2, 2)])
    added += 4**3 * (12 + 6) + 2**3 * (12 + 8)
    whole = network.compute_conv_feature_map_size((8, 8, 8))
    assert whole == stock.compute_conv_feature_map_size((8, 8, 8)) + added
    assert network.compute_conv_feature_map_size((8, 8, 16)) == 2 * whole


def test_refusals():
    with pytest.raises(TypeError, match="expected plans of a PlainConvUNet or ResidualEncoderUNet, got Conv3d"):
        CoTr(nn.Conv3d(1, 1, 1))
    with pytest.raises(ValueError, match="expected channels that 6 heads can share, got 64; give a multiple"):
        CoTr(unet("plain", "3d"), width=64)
