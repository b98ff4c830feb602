"""LeFeD: stock parts, gate, feedback and gradients, over plain and ResEnc, 2d and 3d, any strides."""

from __future__ import annotations

import copy

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from small_unet import GEOMETRIES, small_unet
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from nnunet_ext.methods.lefed.architecture import Fed, LeFeD, LeFeDOutput

SIZES = {
    "3d": [(8, 16, 12), (4, 8, 6), (2, 4, 3)],
    "3d anisotropic": [(4, 8, 12), (4, 4, 6), (2, 2, 3)],
    "2d": [(16, 8), (8, 4), (4, 4)],
}
FEATURES = [4, 6, 8]


def unet(kind: str, geometry: str, *, deep_supervision: bool = False) -> PlainConvUNet | ResidualEncoderUNet:
    return small_unet(
        kind,
        *GEOMETRIES[geometry][:2],
        channels=2,
        convolutions=[1, 2, 2],
        decoder_convolutions=[2, 1],
        deep_supervision=deep_supervision,
    )


def images(geometry: str, samples: int = 2) -> Tensor:
    return torch.randn(samples, 2, *GEOMETRIES[geometry][2])


def shifts(geometry: str, samples: int = 2) -> list[Tensor]:
    return [torch.randn(samples, width, *size) for width, size in zip(FEATURES, SIZES[geometry], strict=True)]


def watch(modules, kept: list) -> None:
    """Keep a copy of what goes into each module, in order, and of what comes out."""
    for module in modules:
        module.register_forward_hook(lambda _, inputs, output: kept.append((inputs[0].clone(), output.clone())))


def everything(output: LeFeDOutput) -> list[Tensor]:
    return [output.first, output.second, *output.side]


def test_encoder_and_first_decoder_are_the_plans_own_bit_by_bit(kind, geometry):
    stock = unet(kind, geometry, deep_supervision=True)
    network = LeFeD(copy.deepcopy(stock)).eval()
    own = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(("encoder.", "decoder."))}
    assert list(own) == list(stock.state_dict())
    assert all(torch.equal(own[name], tensor) for name, tensor in stock.state_dict().items())
    x = images(geometry)
    for mine, theirs in zip(network(x), stock.eval()(x), strict=True):
        assert torch.equal(mine, theirs)
    network.decoder.deep_supervision = stock.decoder.deep_supervision = False
    assert torch.equal(network(x), stock(x))


def test_what_is_not_stock_is_named_apart_and_heads_of_classes_as_nnunet_knows_them(kind):
    stock = unet(kind, "3d").state_dict()
    added = {name for name in LeFeD(unet(kind, "3d")).state_dict() if name not in stock}
    assert {name.split(".")[0] for name in added} == {"second_decoder", "side"}
    heads = {name for name in added if ".seg_layers." in name}
    assert {f"side.seg_layers.{level}.weight" for level in range(3)} < heads
    assert "second_decoder.seg_layers.0.weight" in heads
    assert not list(LeFeD(unet(kind, "3d")).buffers())


def test_train_mode_returns_both_decoders_side_logits_and_feedback_of_every_level(kind, geometry):
    output = LeFeD(unet(kind, geometry, deep_supervision=True)).train()(images(geometry))
    assert isinstance(output, LeFeDOutput)
    size = SIZES[geometry][0]
    assert output.first.shape == output.second.shape == (2, 3, *size)
    assert [tuple(level.shape) for level in output.side] == [(2, 3, *level) for level in SIZES[geometry]]
    assert [tuple(level.shape) for level in output.feedback] == [
        (2, width, *level) for width, level in zip(FEATURES, SIZES[geometry], strict=True)
    ]
    assert not any(level.requires_grad for level in output.feedback)


def test_every_trained_parameter_receives_a_finite_gradient(kind, geometry):
    network = LeFeD(unet(kind, geometry), dropout=(0.0, 0.0)).train()
    output = network(Fed(images(geometry), shifts(geometry)))
    sum(logits.square().mean() for logits in everything(output)).backward()
    frozen = set()
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            frozen.add(name)
            continue
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        # an instance norm swallows a bias before it
        assert parameter.grad.abs().sum() > 0 or name.endswith(("conv.bias", "transpconvs.0.bias")), name
    assert frozen == {"decoder.seg_layers.0.weight", "decoder.seg_layers.0.bias"}


@pytest.mark.parametrize("own_decoder", [False, True])
def test_the_second_decoders_loss_sends_no_gradient_to_the_first(kind, geometry, own_decoder):
    network = LeFeD(unet(kind, geometry), own_decoder=own_decoder, dropout=(0.0, 0.0)).train()
    network(images(geometry)).second.square().mean().backward()
    reached = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert reached == {"encoder", "second_decoder"}
    assert network.second_decoder.transpconvs[0][1].conv.weight.grad.abs().sum() > 0
    assert (
        network.encoder.stages[0].get_parameter("0.convs.0.conv.weight").grad.abs().sum() > 0
        if (kind == "plain")
        else network.encoder.stem.convs[0].conv.weight.grad.abs().sum() > 0
    )


def test_feedback_is_scale_times_the_difference_of_the_taps_on_every_level(kind, geometry):
    network = LeFeD(unet(kind, geometry), dropout=(0.0, 0.0), feedback_scale=0.25).train()
    stages, first, second = [], [], []
    watch(network.encoder.stages, stages)
    watch(network.decoder.transpconvs, first)
    watch(network.second_decoder.transpconvs, second)
    feedback = network(images(geometry)).feedback
    norm = nn.InstanceNorm2d if geometry == "2d" else nn.InstanceNorm3d
    for level in (0, 1):
        raw, other = first[-1 - level][1], second[-1 - level][1]
        width = raw.shape[1]
        assert_close(feedback[level], 0.25 * (other - functional.relu(norm(width)(raw))))
    bottleneck = stages[-1][1]
    assert_close(feedback[2], 0.25 * bottleneck * bottleneck.sigmoid())


def test_feedback_is_added_after_each_stage_before_the_next_and_the_skip(kind, geometry):
    network = LeFeD(unet(kind, geometry), dropout=(0.0, 0.0)).train()
    stages, decoder = [], []
    watch(network.encoder.stages, stages)
    watch(network.decoder.stages, decoder)
    watch([network.decoder.transpconvs[0]], decoder)
    added = shifts(geometry)
    network(Fed(images(geometry), added))
    shifted = [output + shift for (_, output), shift in zip(stages, added, strict=True)]
    assert torch.equal(stages[1][0], shifted[0])
    assert torch.equal(stages[2][0], shifted[1])
    assert torch.equal(decoder[0][0], shifted[2])
    assert torch.equal(decoder[1][0][:, FEATURES[1] :], shifted[1])
    assert torch.equal(decoder[2][0][:, FEATURES[0] :], shifted[0])


def test_a_later_pass_uses_the_feedback_of_the_one_before(geometry):
    network = LeFeD(unet("plain", geometry), dropout=(0.0, 0.0), feedback_scale=0.5).train()
    x = images(geometry)
    before = network(x)
    stages = []
    watch(network.encoder.stages, stages)
    network(Fed(x, before.feedback))
    assert torch.equal(stages[1][0], stages[0][1] + before.feedback[0])
    assert torch.equal(network(Fed(x)).first, before.first)


def test_the_gate_scales_skips_by_the_sigmoid_of_the_first_decoders_taps(kind, geometry):
    network = LeFeD(unet(kind, geometry), dropout=(0.0, 0.0)).train()
    stages, first, second = [], [], []
    watch(network.encoder.stages, stages)
    watch(network.decoder.transpconvs, first)
    watch(network.second_decoder.stages, second)
    watch([network.second_decoder.transpconvs[0]], second)
    network(images(geometry))
    bottleneck = stages[2][1]
    assert_close(second[0][0], bottleneck * (1 + bottleneck.sigmoid()))
    for level in (0, 1):
        gate = functional.relu(functional.instance_norm(first[-1 - level][1])).sigmoid()
        assert gate.min() == 0.5
        assert_close(second[-1 - level][0][:, FEATURES[level] :], stages[level][1] * gate)


def test_own_decoder_takes_its_taps_after_norm_and_nonlinearity(kind, geometry):
    network = LeFeD(unet(kind, geometry), own_decoder=True, dropout=(0.0, 0.0), feedback_scale=1.0).train()
    first, second = [], []
    watch(network.decoder.transpconvs, first)
    watch(network.second_decoder.transpconvs, second)
    feedback = network(images(geometry)).feedback
    for level in (0, 1):
        assert_close(feedback[level], second[-1 - level][1] - first[-1 - level][1])
    assert "decoder.transpconvs.0.1.weight" in network.state_dict()  # the norm
    x = images(geometry)
    assert network.eval()(x).shape == (2, 3, *SIZES[geometry][0])


def test_dropout_is_drawn_in_train_mode_only():
    network = LeFeD(unet("plain", "3d")).train()
    x = images("3d")
    assert not torch.equal(network(x).first, network(x).first)
    network.eval()
    assert torch.equal(network(x), network(x))


def test_dropout_of_the_bottleneck_comes_after_the_feedback():
    network = LeFeD(unet("plain", "3d"), dropout=(0.5, 0.0)).train()
    bottlenecks = []
    watch([network.decoder.transpconvs[0]], bottlenecks)
    added = [torch.full_like(level, 1000.0) for level in shifts("3d")]
    network(Fed(images("3d"), added))
    channels = bottlenecks[0][0].flatten(2).mean(2).flatten()
    assert set(channels.div(1000).round().tolist()) == {0.0, 2.0}


def test_feedback_stays_in_single_precision_under_autocast():
    network = LeFeD(unet("plain", "3d"), dropout=(0.0, 0.0)).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(Fed(images("3d"), shifts("3d")))
    assert output.first.dtype == torch.bfloat16
    assert {level.dtype for level in output.feedback} == {torch.float32}


def test_mean_of_decoders():
    network = LeFeD(unet("plain", "3d"), mean_of_decoders=True, dropout=(0.0, 0.0))
    x = images("3d")
    output = network.train()(x)
    assert_close(network.eval()(x), (output.first + output.second) / 2)


def test_moving_images_moves_the_feedback():
    moved = Fed(torch.zeros(1), [torch.zeros(2)]).to(torch.float64)
    assert moved.images.dtype == moved.feedback[0].dtype == torch.float64
    assert Fed(torch.zeros(1)).to("cpu", non_blocking=True).feedback is None


def test_feature_map_size_counts_the_second_decoder_and_the_side_heads():
    """By hand: decoder 2 has on 8^3 a convolution of 4 features, on 4^3 two of 6, and units of up-sampling, which keep
    four tensors and what they resize (6 and 8 features); its 3 logits, and those of three side heads at full size, take
    3 each; 4 features of two decoders after dropout; of 4, 6 and 8 features 8 tensors (gate, tap, feedback ...)."""
    stock = unet("plain", "3d")
    added = 8**3 * (4 + (4 * 4 + 6) // 2 + 3 * 3) + 4**3 * (2 * 6 + (4 * 6 + 8) // 2)
    added += 8**3 * (3 * 3 * 3 + 4) + 4 * (4 * 8**3 + 6 * 4**3 + 8 * 2**3)
    expected = stock.compute_conv_feature_map_size((8, 8, 8)) + added
    assert LeFeD(stock).compute_conv_feature_map_size((8, 8, 8)) == expected


def test_foreign_networks_are_refused():
    with pytest.raises(TypeError, match="expected plans of a PlainConvUNet or ResidualEncoderUNet, got Conv3d"):
        LeFeD(nn.Conv3d(1, 1, 1))
