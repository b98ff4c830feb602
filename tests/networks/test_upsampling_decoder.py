"""UpsamplingDecoder and decode: three kinds of up-sampling, by hand, and the stock decoder step by step."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from small_unet import small_unet
from torch import nn
from torch.testing import assert_close

from nnunet_ext.networks.upsampling_decoder import UpsamplingDecoder, decode

KINDS = ("transposed", "linear", "nearest")


def unet(two_d: bool = False) -> PlainConvUNet:
    strides = [[1, 1], [2, 1], [2, 2]] if two_d else [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    kernels = [[3, 3], [1, 3], [3, 3]] if two_d else [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
    return small_unet("plain", strides, kernels, decoder_convolutions=[2, 1], deep_supervision=False)


@pytest.mark.parametrize("two_d", [False, True])
def test_decode_is_the_stock_decoder_step_by_step(two_d):
    stock = unet(two_d)
    skips = stock.encoder(torch.randn(2, 1, *((8, 6) if two_d else (4, 8, 12))))
    logits, upsampled = decode(stock.decoder, skips, nn.Identity())
    assert torch.equal(logits, stock.decoder(skips))
    assert torch.equal(upsampled[1], stock.decoder.transpconvs[0](skips[2]))
    assert [level.shape for level in upsampled] == [skip.shape for skip in skips[:2]]


def test_dropout_comes_right_before_the_head():
    stock = unet()
    skips = stock.encoder(torch.randn(1, 1, 4, 8, 8))
    logits, _ = decode(stock.decoder, skips, nn.Dropout3d(1.0))
    assert_close(logits, stock.decoder.seg_layers[-1].bias.view(1, 3, 1, 1, 1).expand_as(logits))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("two_d", [False, True])
def test_up_sampling_arrives_at_the_skips_size_normalised(kind, two_d):
    network = unet(two_d)
    skips = network.encoder(torch.randn(2, 1, *((8, 6) if two_d else (4, 8, 12))))
    decoder = UpsamplingDecoder(network, kind)
    logits, upsampled = decode(decoder, skips, nn.Identity())
    assert torch.equal(decoder(skips), logits)
    assert logits.shape == (2, 3, *skips[0].shape[2:])
    for level, skip in zip(upsampled, skips[:2], strict=True):
        assert level.shape == skip.shape
        straightened = torch.where(level > 0, level, level * 100)  # undoes the leaky ReLU
        axes = tuple(range(2, level.ndim))
        assert_close(straightened.mean(axes), torch.zeros(level.shape[:2]), rtol=0, atol=1e-4)
        assert_close(straightened.var(axes, unbiased=False), torch.ones(level.shape[:2]), rtol=0, atol=1e-2)


def test_resizing_by_hand():
    """0 and 3 become 0, 1, 2, 3 linearly with aligned corners, and 0, 0, 3, 3 by the nearest; stride 1 changes none."""
    row = torch.tensor([[0.0, 3.0], [9.0, 9.0]]).view(1, 1, 2, 2)
    network = unet(two_d=True)
    network.encoder.strides[2] = [1, 2]
    linear, nearest = (UpsamplingDecoder(network, kind).transpconvs[0][0](row)[0, 0] for kind in ("linear", "nearest"))
    assert_close(linear, torch.tensor([[0.0, 1, 2, 3], [9, 9, 9, 9]]))
    assert_close(nearest, torch.tensor([[0.0, 0, 3, 3], [9, 9, 9, 9]]))


def test_the_convolution_has_the_kernel_of_the_stage_it_arrives_at():
    units = UpsamplingDecoder(unet(), "linear").transpconvs
    assert [tuple(unit[1].conv.weight.shape) for unit in units] == [(6, 8, 3, 3, 3), (4, 6, 1, 3, 3)]
    units = UpsamplingDecoder(unet(), "transposed").transpconvs
    assert [tuple(unit[0].weight.shape) for unit in units] == [(8, 6, 2, 2, 2), (6, 4, 1, 2, 2)]


@pytest.mark.parametrize("kind", KINDS)
def test_it_holds_no_encoder_and_one_head(kind):
    names = UpsamplingDecoder(unet(), kind).state_dict()
    assert not [name for name in names if "encoder" in name]
    assert {name.rpartition(".")[0] for name in names if "seg_layers" in name} == {"seg_layers.0"}


@pytest.mark.parametrize("kind", KINDS)
def test_feature_map_size_by_hand(kind):
    """(4, 8, 8) with 4 features (1 convolution), 3 logits, 3 each; (4, 4, 4) with 6 (2 convolutions); 8 below.

    Half of: a unit's convolution, before and after its norm, two concatenated tensors; what is resized, from below.
    """
    resized = (0, 0) if kind == "transposed" else (6, 8)
    finest = 4 + (4 * 4 + resized[0]) // 2 + 3 * 3
    coarser = 2 * 6 + (4 * 6 + resized[1]) // 2
    size = UpsamplingDecoder(unet(), kind).compute_conv_feature_map_size((4, 8, 8))
    assert size == 4 * 8 * 8 * finest + 4 * 4 * 4 * coarser


def test_foreign_networks_are_refused():
    with pytest.raises(TypeError, match="expected plans of a PlainConvUNet or ResidualEncoderUNet, got Conv3d"):
        UpsamplingDecoder(nn.Conv3d(1, 1, 1), "linear")
