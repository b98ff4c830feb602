"""DeformableEncoder: shapes, gradients, what tokens know of place and level, DeepNorm, the planner's count."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from nnunet_ext.networks.deformable_encoder import DeformableEncoder, sine_position

SIZES = {3: [(4, 6, 5), (2, 3, 3)], 2: [(6, 7), (3, 4), (2, 2)]}


def encoder(dims: int = 3, **options) -> DeformableEncoder:
    usual = {"layers": 2, "levels": len(SIZES[dims]), "heads": 3, "points": 2, "hidden": 20, "dims": dims}
    return DeformableEncoder(12, **(usual | options))


def features(dims: int = 3, channels: int = 12) -> list[Tensor]:
    return [torch.randn(2, channels, *size) for size in SIZES[dims]]


@pytest.mark.parametrize("dims", [2, 3])
def test_shapes_stay_and_every_parameter_gets_a_gradient(dims):
    torch.manual_seed(0)
    module, given = encoder(dims), features(dims)
    for linear in (layer.attention.offsets for layer in module.layers):
        nn.init.normal_(linear.weight, std=0.1)  # 0 at the start, and then the first queries have no effect
    output = module(given)
    assert [part.shape for part in output] == [part.shape for part in given]
    sum(part.sin().mean() for part in output).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    assert not list(module.buffers())


@torch.no_grad()
def test_levels_keep_their_tokens():
    """Without attention's and feed-forward's output a layer is the LayerNorm of each voxel, in its own place."""
    module, given = encoder().eval(), features()
    for layer in module.layers:
        for linear in (layer.attention.output, layer.feed_forward[3]):
            nn.init.zeros_(linear.weight)
    for before, after in zip(given, module(given), strict=True):
        expected = torch.nn.functional.layer_norm(before.movedim(1, -1), (12,)).movedim(-1, 1)
        assert_close(after, expected, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_queries_know_place_and_level_values_do_not():
    module = encoder(layers=1).eval()
    attention = module.layers[0].attention
    seen: dict[str, Tensor] = {}
    attention.register_forward_pre_hook(lambda _, given: seen.update(queries=given[0], values=given[2]))
    module([torch.zeros_like(feature) for feature in features()])
    assert not seen["values"].any()
    assert len(seen["queries"][0].unique(dim=0)) == 120 + 18
    nn.init.zeros_(module.level_embedding)
    embedded = seen["queries"].clone()
    module([torch.zeros_like(feature) for feature in features()])
    difference = embedded - seen["queries"]
    assert_close(difference[0, :120].std(0), torch.zeros(12), rtol=0, atol=1e-6)
    assert not torch.allclose(difference[0, 0], difference[0, 120])


def test_deep_norm():
    """alpha scales what a layer is added to, beta the start of values, output and feed-forward part."""
    torch.manual_seed(0)
    options = {"layers": 1, "levels": 1, "heads": 4, "points": 1, "hidden": 256}
    plain = DeformableEncoder(256, **options).layers[0]
    deep = DeformableEncoder(256, **options, alpha=1.5, beta=0.5).layers[0]
    for path in ("attention.values", "attention.output", "feed_forward.0", "feed_forward.3"):
        ratio = deep.get_submodule(path).weight.std() / plain.get_submodule(path).weight.std()
        assert_close(ratio, torch.tensor(0.5), rtol=0.03, atol=0)
    module = DeformableEncoder(4, layers=1, levels=1, heads=1, points=1, hidden=4, alpha=1.5).eval()
    layer = module.layers[0]
    summed = []
    layer.attention_norm.register_forward_pre_hook(lambda _, given: summed.append(given[0]))
    nn.init.zeros_(layer.attention.output.weight)
    feature = torch.randn(1, 4, 2, 2, 2)
    module([feature])
    assert_close(summed[0], 1.5 * feature.flatten(2).transpose(1, 2))


def test_dropout_and_activation_are_those_asked_for():
    module = encoder(dropout=0.25, activation=nn.ReLU)
    rates = [part.p for part in module.modules() if isinstance(part, nn.Dropout)]
    assert rates == [0.25] * 6
    assert sum(isinstance(part, nn.ReLU) for part in module.modules()) == 2
    given = features()
    assert not torch.equal(module.train()(given)[0], module(given)[0])
    assert torch.equal(module.eval()(given)[0], module(given)[0])


@pytest.mark.parametrize("dims", [2, 3])
def test_compiles_as_one_graph(dims):
    torch._dynamo.reset()
    module, given = encoder(dims, dropout=0.0), features(dims)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    for one, other in zip(compiled(given), module(given), strict=True):
        assert_close(one, other)


def test_the_planners_count_is_what_backward_keeps():
    """Bytes of all tensors kept for backward, parameters apart, under autocast; nnU-Net's unit is 4 bytes."""
    module = DeformableEncoder(48, layers=3, levels=2, heads=6, points=4, hidden=192)
    sizes = [(8, 8, 6), (4, 4, 3)]
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    given = [torch.randn(1, 48, *size) for size in sizes]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        output = module(given)
    assert len(output) == 2
    weights = {parameter.data_ptr() for parameter in module.parameters()}
    measured = sum(part.untyped_storage().nbytes() for place, part in kept.items() if place not in weights) / 4
    counted = module.compute_conv_feature_map_size(sizes)
    assert counted == pytest.approx(measured, rel=0.15)
    assert counted == sum(math.prod(size) for size in sizes) * module.compute_conv_feature_map_size([(1, 1, 1)])


def test_gradients_behind_an_instance_norm_add_up_over_samples():
    """torch's instance norm on a CPU is wrong at batch 1 where the gradient is laid out channels last."""
    torch.manual_seed(0)
    norm = nn.InstanceNorm3d(8, affine=True)
    encoder = DeformableEncoder(8, layers=1, levels=1, heads=2, points=2, hidden=8, dropout=0.0)
    features, mask = torch.randn(2, 8, 3, 2, 5), torch.randn(2, 8, 3, 2, 5)

    def gradient(samples: slice) -> torch.Tensor:
        image = features[samples].clone().requires_grad_()
        (encoder([norm(image)])[0] * mask[samples]).sum().backward()
        return image.grad

    assert_close(torch.cat((gradient(slice(0, 1)), gradient(slice(1, 2)))), gradient(slice(0, 2)))


def test_two_voxels_on_one_axis():
    """Centres lie at 1/4 and 3/4 of 2 pi; with 4 channels the second frequency is 10000^(-1/2)."""
    quarter = math.pi / 2
    slow = quarter / 100
    expected = [
        [1, 0, math.sin(slow), math.cos(slow)],
        [-1, 0, math.sin(3 * slow), math.cos(3 * slow)],
    ]
    assert_close(sine_position((2,), 4), torch.tensor(expected), rtol=0, atol=1e-6)


def test_axes_follow_one_another_and_voxels_are_in_row_major_order():
    size = (2, 3, 5)
    position = sine_position(size, 12).view(*size, 12)
    for axis, length in enumerate(size):
        alone = sine_position((length,), 4)
        own = position.movedim(axis, 0)[..., 4 * axis : 4 * axis + 4]
        assert_close(own, alone[:, None, None].expand_as(own))


def test_each_pair_shares_a_frequency():
    waves = sine_position((7, 6), 16)
    assert_close(waves[:, 0::2] ** 2 + waves[:, 1::2] ** 2, torch.ones(42, 8))


@pytest.mark.parametrize(("channels", "used"), [(12, 12), (13, 12), (17, 12), (18, 18), (4, 0)])
def test_channels_that_cannot_be_shared_out_stay_zero(channels, used):
    position = sine_position((4, 5, 6), channels)
    assert position.shape == (120, channels)
    assert position.dtype == torch.float32
    assert not position[:, used:].any()
    assert position[:, :used].abs().sum(0).gt(0).all()


def test_every_voxel_has_its_own_position():
    assert len(sine_position((3, 4, 5), 24).unique(dim=0)) == 60
