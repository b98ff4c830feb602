"""TransDoDNet's network: shapes, gradients, tasks; over plain and ResEnc, 2d and 3d, few levels."""

from __future__ import annotations

import math

import pytest
import torch
from small_unet import small_unet
from torch import nn
from torch.testing import assert_close

from nnunet_ext.methods.transdodnet.architecture import TransDoDNet, _levels, deep_norm_of_encoder
from nnunet_ext.networks.deformable_attention import DeformableAttention

GEOMETRY = {
    "3d": ([[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]], [[3, 3, 3]] * 4, (16, 24, 16)),
    "3d anisotropic": ([[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 1]], [[1, 3, 3]] * 2 + [[3, 3, 3]] * 2, (4, 24, 16)),
    "3d of three stages": ([[1, 1, 1], [2, 2, 2], [1, 2, 2]], [[3, 3, 3]] * 3, (4, 8, 12)),
    "3d of two stages": ([[1, 1, 1], [2, 2, 2]], [[3, 3, 3]] * 2, (4, 8, 6)),
    "2d": ([[1, 1], [2, 2], [2, 2]], [[3, 3]] * 3, (16, 8)),
}
LEVELS = {"3d": 2, "3d anisotropic": 1, "3d of three stages": 1, "3d of two stages": 1, "2d": 1}  # >= 32 voxels a token
HEADS = (4, 2, 3)


@pytest.fixture(params=list(GEOMETRY))
def geometry(request) -> str:
    return request.param


def transdodnet(
    kind: str = "plain",
    geometry: str = "3d",
    *,
    heads: tuple[int, ...] = HEADS,
    scales: bool = True,
    **options,
) -> TransDoDNet:
    strides, kernels, _ = GEOMETRY[geometry]
    torch.manual_seed(0)
    unet = small_unet(
        kind,
        strides,
        kernels,
        features=[4, 6, 8, 10][: len(strides)],
        classes=max(heads),
        deep_supervision=scales,
    )
    options = {"hidden_channels": 16, "encoder_layers": 1, "decoder_layers": 2, "head_width": 4} | options
    network = TransDoDNet(unet, heads=heads, channels=(1, 3), **options)
    network.set_task(0)
    return network


def as_if_trained(network: TransDoDNet) -> TransDoDNet:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return network


def test_shapes_levels_and_channels(kind, geometry):
    strides, _, patch = GEOMETRY[geometry]
    network = transdodnet(kind, geometry).eval()
    assert len(network.projections) == LEVELS[geometry]
    for channels in (1, 3):
        scales = network(torch.randn(2, channels, *patch))
        size = patch
        for logits, stride in zip(scales, strides[:-1], strict=True):
            size = tuple(length // step for length, step in zip(size, stride, strict=True))
            assert logits.shape == (2, 4, *size)
    network.decoder.deep_supervision = False
    network.set_task(2)
    assert network(torch.randn(2, 1, *patch)).shape == (2, 3, *patch)


def test_the_last_three_levels_of_usual_plans_and_fewer_of_shallow_ones():
    usual = [[1, 1, 1], *[[2, 2, 2]] * 5]
    assert [_levels(usual[:stages], 3) for stages in (2, 3, 4, 5, 6)] == [1, 1, 2, 3, 3]
    assert [_levels(usual, wanted) for wanted in (1, 2, 4, 9)] == [1, 2, 4, 4]
    assert _levels([[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]], 3) == 2  # 4, 32 and 256 voxels a token


def test_every_parameter_receives_a_finite_gradient(kind, geometry):
    network = as_if_trained(transdodnet(kind, geometry)).train()  # at the start offsets do not depend on the query
    network.set_task(1)
    sum(logits.square().mean() for logits in network(torch.randn(2, 3, *GEOMETRY[geometry][2]))).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    for part in ("projections", "transformer", "queries", "controller", "from_memory", "from_encoder"):
        for name, parameter in getattr(network, part).named_parameters():
            assert parameter.grad.any(), f"{part}.{name}"


def test_without_deep_supervision_nothing_is_left_without_a_gradient(kind):
    network = transdodnet(kind, scales=False, deep_supervision=False).train()
    logits = network(torch.randn(1, 1, *GEOMETRY["3d"][2]))
    assert logits.shape == (1, 4, *GEOMETRY["3d"][2])
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_encode_once_decode_per_task_and_mixed_batches(kind):
    network = transdodnet(kind, scales=False).eval()
    x = torch.randn(3, 1, *GEOMETRY["3d"][2])
    with torch.no_grad():
        encoded = network.encode(x)
        assert encoded[1].shape == (3, 3, 2 * (4 * 4 + 4) + 4 * 4 + 4)
        each = [network.decode(encoded, torch.full((3,), task)) for task in range(3)]
        mixed = network.decode(encoded, torch.tensor([2, 0, 1]))
        for task, heads in enumerate(HEADS):
            network.set_task(task)
            assert_close(network(x), each[task][:, :heads])
        network.set_task(2, 0)
        assert_close(network(x), torch.cat((each[2][:, :3], each[0]), 1))
    assert_close(mixed, torch.stack([each[2][0], each[0][1], each[1][2]]))
    assert not torch.allclose(each[0], each[1], atol=1e-3)


def test_several_tasks_run_encoder_decoder_and_transformer_once(kind, monkeypatch):
    network = transdodnet(kind, scales=False).eval()
    runs = []
    for part in ("encoder", "decoder", "transformer", "queries", "controller", "head"):
        getattr(network, part).register_forward_hook(lambda *_, part=part: runs.append(part))
    network.set_task(0, 1, 2)
    network(torch.randn(1, 1, *GEOMETRY["3d"][2]))
    assert sorted(runs) == ["controller", "decoder", "encoder", "head", "head", "head", "queries", "transformer"]
    runs.clear()
    network.train()
    network.set_task(1)
    network(torch.randn(1, 1, *GEOMETRY["3d"][2]))
    assert runs.count("head") == 1


def test_the_decoder_starts_with_memory_and_bottleneck():
    network = transdodnet(scales=False).eval()
    x = torch.randn(1, 1, *GEOMETRY["3d"][2])
    with torch.no_grad():
        before = network.encode(x)[0][0]
        network.from_memory.norm.weight.zero_()
        without_memory = network.encode(x)[0][0]
        network.from_encoder.norm.weight.zero_()
        without_both = network.encode(x)[0][0]
    assert not torch.allclose(before, without_memory, atol=1e-3)
    assert not torch.allclose(without_memory, without_both, atol=1e-3)


def assert_same_function(one: TransDoDNet, other: TransDoDNet, tasks: list[tuple[int, int]]) -> None:
    x = torch.randn(2, 1, *GEOMETRY["3d"][2])
    with torch.no_grad():
        for there, here in tasks:
            one.set_task(there)
            other.set_task(here)
            for before, after in zip(one.eval()(x), other.eval()(x), strict=True):
                assert_close(after, before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("heads", [(3, 2, 5, 4, 2), (3, 2, 2, 4)])
def test_an_old_task_is_the_same_function_in_a_larger_network(heads):
    old = as_if_trained(transdodnet(heads=(4, 2)))
    torch.manual_seed(7)
    new = transdodnet(heads=heads)
    places = [None, 1, None, 0, None][: len(heads)]
    new.load_state_dict(new.adopt(old.state_dict(), old.heads, places))
    assert_same_function(old, new, [(0, 3), (1, 1)])
    x = torch.randn(2, 1, *GEOMETRY["3d"][2])
    with torch.no_grad():
        old.set_task(1)
        new.set_task(2)
        assert not torch.allclose(new(x)[0][:, :2], old(x)[0], atol=1e-2)

    back = transdodnet(heads=(2, 4))  # tasks that joined later go again
    back.load_state_dict(back.adopt(new.state_dict(), new.heads, [1, 3]))
    assert_same_function(old, back, [(0, 1), (1, 0)])


def test_old_tasks_stay_the_same_function_while_new_queries_are_trained():
    old = as_if_trained(transdodnet(heads=(4, 2)))
    new = transdodnet(heads=(4, 2, 3))
    new.load_state_dict(new.adopt(old.state_dict(), old.heads, [0, 1, None]))
    new.set_task(0)
    new(torch.randn(1, 1, *GEOMETRY["3d"][2]))[0].square().mean().backward()
    for parameter in (new.queries.content, new.queries.position):
        assert parameter.grad[:2].any(1).all()
        assert not parameter.grad[2].any()
        with torch.no_grad():
            parameter[2] += 1
    assert_same_function(old, new, [(0, 0), (1, 1)])


def test_fewer_tasks_with_fewer_outputs():
    old, new = transdodnet(heads=(5, 2, 3)), transdodnet(heads=(3, 2))
    adopted = new.adopt(old.state_dict(), old.heads, [2, 1])
    new.load_state_dict(adopted)
    assert torch.equal(new.queries.content, old.queries.content[[2, 1]])
    # two layers of 4 x 4, then 3 (of 5) outputs of 4; two layers' biases, then 3 of 5
    rows = [*range(32 + 12), *range(32 + 20, 32 + 20 + 8 + 3)]
    assert torch.equal(adopted["controller.2.weight"], old.controller[2].weight[rows])
    assert torch.equal(adopted["controller.2.bias"], old.controller[2].bias[rows])


def test_weights_of_another_width_are_left_to_init_from():
    old, new = transdodnet(hidden_channels=8, head_width=3), transdodnet()
    adopted = new.adopt(old.state_dict(), old.heads, [0, 1, 2])
    for name in ("controller.2.weight", "controller.2.bias", "queries.content"):
        assert torch.equal(adopted[name], old.state_dict()[name])
        assert adopted[name].shape != new.state_dict()[name].shape


def test_no_buffers_and_the_same_names_with_and_without_deep_supervision(kind):
    one, other = transdodnet(kind), transdodnet(kind, scales=False)
    assert not list(one.buffers())
    assert list(one.state_dict()) == list(other.state_dict())


def test_deep_norm_of_the_encoder():
    assert deep_norm_of_encoder(3, 3) == pytest.approx((1.1418, 0.6172), abs=1e-4)
    network = transdodnet(encoder_layers=3, decoder_layers=3)
    assert [layer.alpha for layer in network.transformer.layers] == pytest.approx([1.1418] * 3, abs=1e-4)
    assert [layer.alpha for layer in network.queries.layers] == pytest.approx([1.7321] * 3, abs=1e-4)
    plain = transdodnet(deep_norm=False)
    assert {layer.alpha for part in (plain.transformer, plain.queries) for layer in part.layers} == {1.0}


def test_made_biases_start_at_zero():
    network = transdodnet(scales=False).eval()
    kernels = network.encode(torch.randn(1, 1, *GEOMETRY["3d"][2]))[1]
    weights, biases = kernels.split([2 * 4 * 4 + 4 * 4, 4 + 4 + 4], 2)
    assert weights.all()
    assert not biases.any()


@pytest.mark.parametrize("activation", ["leaky_relu", "gelu", "relu"])
def test_the_controllers_activation_and_the_same_names_for_all(activation):
    network = transdodnet(controller_activation=activation)
    x = torch.tensor([-2.0, 0, 3])
    expected = {"leaky_relu": [-0.02, 0, 3], "gelu": [-0.0455, 0, 2.9960], "relu": [0.0, 0, 3]}[activation]
    assert_close(network.controller[1](x), torch.tensor(expected), rtol=0, atol=1e-4)
    assert list(network.controller.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    network.load_state_dict(transdodnet(controller_activation="relu").state_dict())


def test_by_default_a_silent_unit_learns_on():
    """All units far below 0 for all queries: dead behind a ReLU, alive behind ours."""
    gradients = {}
    for activation in ("relu", "leaky_relu"):
        options = {} if activation == "leaky_relu" else {"controller_activation": activation}
        network = transdodnet(scales=False, deep_supervision=False, **options).train()
        with torch.no_grad():
            network.controller[0].bias.fill_(-100)
        network(torch.randn(2, 1, *GEOMETRY["3d"][2])).square().mean().backward()
        gradients[activation] = network.controller[0].weight.grad
    assert not gradients["relu"].any()
    assert gradients["leaky_relu"].any(1).all()


def test_silent_units_are_below_zero_for_all_queries_of_all_samples():
    network = transdodnet(scales=False).eval()
    x = torch.randn(2, 1, *GEOMETRY["3d"][2])
    with torch.no_grad():
        network.controller[0].weight.zero_()
        network.controller[0].bias.copy_(torch.linspace(-7.5, 7.5, 16))
        assert network.silent_units(x).tolist() == [True] * 8 + [False] * 8
        # a unit that one of six queries, 3 tasks of 2 samples, raises is not silent
        found = network._ask(network.encoder(x))[1].flatten(0, 1)
        direction = torch.linalg.lstsq(found, torch.tensor([-1.0, -1, -1, -1, 2, -1])[:, None]).solution[:, 0]
        network.controller[0].weight[0] = direction
        network.controller[0].bias[0] = 0
        assert network.silent_units(x).tolist() == [False] + [True] * 7 + [False] * 8


def test_offsets_and_weights_start_at_zero():
    attentions = [module for module in transdodnet().modules() if isinstance(module, DeformableAttention)]
    assert len(attentions) == 1 + 2
    for attention in attentions:
        assert not attention.offsets.weight.any()
        assert not attention.weights.weight.any()


def test_the_planner_counts_transformer_and_head():
    network = transdodnet()
    size = [16, 24, 16]
    convolutions = network.encoder.compute_conv_feature_map_size(size)
    convolutions += network.decoder.compute_conv_feature_map_size(size)
    levels = [(4, 6, 4), (2, 3, 2)]
    tokens = sum(map(math.prod, levels))
    transformer = network.transformer.compute_conv_feature_map_size(levels) + 2 * 16 * tokens
    fused = 2 * 10 * math.prod(levels[-1])
    head = (math.prod(size) * (1 + 1 / 8 + 1 / 64)) * (3 * 4 + 2 * 4)
    assert network.compute_conv_feature_map_size(size) == convolutions + 16 * tokens + transformer + fused + head


def test_other_networks_are_refused():
    with pytest.raises(TypeError, match="expected plans of a PlainConvUNet or ResidualEncoderUNet, got Linear"):
        TransDoDNet(nn.Linear(1, 1), heads=HEADS, channels=(1,))


def test_one_compiled_graph_without_breaks_serves_all_tasks():
    network = transdodnet().eval()
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    shared = torch.compile(lambda x, tasks: network.decode(network.encode(x), tasks), backend=backend, fullgraph=True)
    x = torch.randn(2, 1, *GEOMETRY["3d"][2])
    with torch.no_grad():
        for task in (0, 2, 1):
            tasks = torch.full((2,), task)
            for found, expected in zip(shared(x, tasks), network.decode(network.encode(x), tasks), strict=True):
                assert_close(found, expected)
    assert len(graphs) == 1


def test_half_precision_under_autocast():
    network = transdodnet(scales=False, deep_supervision=False).train()
    network.set_task(0)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.randn(2, 1, *GEOMETRY["3d"][2]))
    assert logits.dtype == torch.bfloat16
    logits.float().square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
