"""DoDNet's network: made kernels, deep supervision, gradients, tasks, growth; over plain and ResEnc, 2d and 3d."""

from __future__ import annotations

import math

import pytest
import torch
from small_unet import GEOMETRIES, small_unet
from torch import nn
from torch.testing import assert_close

from nnunet_ext.collection.network.dodnet import DoDNet


def dodnet(
    kind: str = "plain",
    geometry: str = "3d",
    *,
    heads: tuple[int, ...] = (4, 2, 3),
    width: int = 5,
    depth: int = 3,
    trained_deeply: bool = True,
    deep_supervision: bool | None = None,
    **options: str,
) -> DoDNet:
    torch.manual_seed(0)
    unet = small_unet(
        kind,
        *GEOMETRIES[geometry][:2],
        features=[4, 6, 9],
        classes=width,
        convolutions=[1, 2, 2],
        deep_supervision=trained_deeply if deep_supervision is None else deep_supervision,
    )
    network = DoDNet(unet, heads=heads, channels=(1, 3), depth=depth, deep_supervision=trained_deeply, **options)
    network.set_task(0)
    return network


def images(geometry: str = "3d", batch: int = 2, channels: int = 1) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, channels, *GEOMETRIES[geometry][2])


def test_shapes_and_controller(kind, geometry):
    network = dodnet(kind, geometry)
    patch = GEOMETRIES[geometry][2]
    assert network.controller.weight.shape == (2 * (25 + 5) + 5 * 4 + 4, 9 + 3)
    for channels in (1, 3):
        logits = network(images(geometry, channels=channels))
        below = [length // step for length, step in zip(patch, GEOMETRIES[geometry][0][1], strict=True)]
        assert [scale.shape for scale in logits] == [(2, 4, *patch), (2, 4, *below)]
    network.decoder.deep_supervision = False
    network.set_task(2)
    assert network(images(geometry)).shape == (2, 3, *patch)


class Recorded(nn.Module):
    """A module that keeps its inputs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.given: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.given.append(x.detach())
        return self.module(x)


def test_the_condition_is_the_mean_of_the_bottleneck_or_of_what_its_last_norm_is_given(kind, geometry):
    options = {"kind": kind, "geometry": geometry}
    pooled, pre_norm = dodnet(**options).eval(), dodnet(**options, condition="pre_norm").eval()
    assert list(pooled.state_dict()) == list(pre_norm.state_dict())
    pre_norm.load_state_dict(pooled.state_dict())
    x = images(geometry)
    with torch.no_grad():
        bottleneck = pooled.encoder(x)[-1]
        assert_close(pooled.encode(x)[1], bottleneck.flatten(2).mean(2))
        stage = pre_norm.encoder.stages[-1]
        block = stage[-1].convs[-1] if kind == "plain" else stage.blocks[-1].conv2
        place = [isinstance(part, nn.modules.instancenorm._InstanceNorm) for part in block.all_modules].index(True)
        norm = block.all_modules[place] = Recorded(block.all_modules[place])
        scales, condition = pre_norm.encode(x)
        assert len(norm.given) == 1
        assert_close(condition, norm.given[0].flatten(2).mean(2))
        assert_close(scales, pooled.encode(x)[0])  # nothing else changes
        assert pre_norm._before_norm is None
        unequal = (pooled.encode(x)[1] - condition).abs().max()
        assert unequal > 0.01


def test_before_the_norm_images_differ_in_brightness_and_after_it_they_do_not():
    """Instance norm takes away what a bottleneck channel's mean says of the image."""
    x = images(batch=1)
    brighter = torch.cat((x, 3 * x + 1))
    apart = {}
    for condition in ("pooled", "pre_norm"):
        network = dodnet(condition=condition).eval()
        with torch.no_grad():
            for block in network.encoder.modules():  # so that brightness reaches the bottleneck
                if hasattr(block, "all_modules") and block is not network.encoder.stages[-1][-1].convs[-1]:
                    block.all_modules[1] = nn.Identity()
            one, other = network.encode(brighter)[1]
        apart[condition] = float((one - other).norm() / other.norm())
    assert apart["pre_norm"] > 3 * apart["pooled"]


@pytest.mark.parametrize("condition", ["pooled", "pre_norm"])
def test_the_condition_compiles_as_one_graph_and_gets_gradients(condition):
    torch._dynamo.reset()
    network = dodnet(condition=condition, trained_deeply=False)
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(network.encode, backend=backend, fullgraph=True)
    for _ in range(2):
        scales, found = compiled(images())
        expected = network.encode(images())
        assert_close(found, expected[1])
        assert_close(scales, expected[0])
    assert len(graphs) == 1
    found.square().sum().backward()
    stem = next(network.encoder.parameters())
    assert stem.grad.abs().sum() > 0


def test_the_head_of_the_authors_has_162_parameters():
    assert dodnet(heads=(2,) * 7, width=8).controller.weight.shape == (162, 9 + 7)


@pytest.mark.parametrize("trained_deeply", [True, False])
def test_every_parameter_receives_a_finite_gradient(kind, geometry, trained_deeply):
    network = dodnet(kind, geometry, trained_deeply=trained_deeply).train()
    network.set_task(1)
    logits = network(images(geometry, channels=3))
    sum(scale.square().mean() for scale in (logits if trained_deeply else [logits])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_without_deep_supervision_there_are_no_weights_for_lower_scales():
    network, with_them = dodnet(trained_deeply=False), dodnet()
    lower = {"pre_heads.1.weight", "pre_heads.1.bias"}
    assert set(with_them.state_dict()) - set(network.state_dict()) == lower
    alone = network.eval()(images())
    network.decoder.deep_supervision = True  # as nnU-Net leaves it after its final validation
    listed = network(images())
    assert len(listed) == 1
    assert torch.equal(listed[0], alone)


def test_the_kernels_depend_on_task_and_image(kind):
    network = dodnet(kind, deep_supervision=False).eval()
    x = images(batch=2)
    with torch.no_grad():
        features, pooled = network.encode(x)
        first, second = network.decode((features, pooled), torch.tensor([0, 0]))
        other_task = network.decode((features, pooled), torch.tensor([1, 0]))
        other_image = network.decode((features, pooled + torch.tensor([[0.5], [0.0]])), torch.tensor([0, 0]))
    for other in (other_task, other_image):
        assert (other[0] - first).abs().max() > 1e-3
        assert torch.equal(other[1], second)


def test_encode_once_decode_per_task_and_mixed_batches(kind):
    network = dodnet(kind, deep_supervision=False).eval()
    x = images(batch=3)
    with torch.no_grad():
        encoded = network.encode(x)
        each = [network.decode(encoded, torch.full((3,), task)) for task in range(3)]
        mixed = network.decode(encoded, torch.tensor([2, 0, 1]))
        for task, heads in enumerate((4, 2, 3)):
            network.set_task(task)
            assert_close(network(x), each[task][:, :heads])
    assert_close(mixed, torch.stack([each[2][0], each[0][1], each[1][2]]))


def test_logits_are_bounded():
    network = dodnet(deep_supervision=False).eval()
    with torch.no_grad():
        before = network(images())
        network.controller.weight.mul_(1e4)
        after = network(images())
    assert before.abs().max() < 60
    assert 100 < after.abs().max() <= 110


@pytest.mark.parametrize(("width", "depth"), [(8, 3), (32, 5), (64, 6)])
def test_untrained_logits_are_small_whatever_the_head(width, depth):
    network = dodnet(width=width, depth=depth, deep_supervision=False).eval()
    with torch.no_grad():
        assert 0.01 < network(images(batch=4)).std() < 5


def test_kernels_of_a_wide_head_are_scaled_by_the_root_of_the_ratio_of_widths():
    """Kaiming for a slope of 0.01 and 9 + 3 inputs has deviation 0.408; of width 32, by the root of 8 / 32, half of it.

    The rows that make biases are not scaled.
    """
    network = dodnet(width=32)
    weight, kernels = network.controller.weight, network.head.weight_count
    assert weight.shape[1] == 12
    assert weight[:kernels].std().item() == pytest.approx(0.204, rel=0.05)
    assert weight[kernels:].std().item() == pytest.approx(0.408, rel=0.1)
    narrow = dodnet(width=8)
    assert narrow.controller.weight.std().item() == pytest.approx(0.408, rel=0.05)


def test_under_autocast_logits_have_the_precision_of_stock_and_fit_it():
    network = dodnet().train()
    with torch.no_grad():
        network.controller.weight.mul_(1e3)
    with torch.autocast("cpu", torch.float16):
        logits = network(images())
    assert {scale.dtype for scale in logits} == {torch.float16}
    sum(scale.float().mean() for scale in logits).backward()
    assert all(scale.isfinite().all() for scale in logits)
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_several_tasks_need_one_encoder_and_one_decoder():
    network = dodnet(deep_supervision=False).eval()
    calls = []
    for part in (network.encoder, network.decoder):
        part.register_forward_hook(lambda *_: calls.append(1))
    network.set_task(2, 0, 1)
    assert network(images()).shape[1] == 3 + 4 + 2
    assert len(calls) == 2


@pytest.mark.parametrize("trained_deeply", [True, False])
def test_an_old_task_is_the_same_function_in_a_larger_network(trained_deeply):
    old = dodnet(heads=(4, 2), trained_deeply=trained_deeply, deep_supervision=False).eval()
    new = dodnet(heads=(3, 2, 6, 4, 2), trained_deeply=trained_deeply, deep_supervision=False).eval()
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.add_(torch.randn_like(parameter))
    fresh = new.controller.weight[:, 9].clone()
    new.load_state_dict(new.adopt(old.state_dict(), old.heads, [None, 1, None, 0, None]))
    with torch.no_grad():
        for there, here in ((0, 3), (1, 1)):
            old.set_task(there)
            new.set_task(here)
            assert_close(new(images()), old(images()))
        new.set_task(4)
        assert not torch.allclose(new(images()), old(images()))
    assert torch.equal(new.controller.weight[:, 9], fresh)  # the column of a new task


def test_fewer_tasks_and_outputs_keep_what_is_left():
    old, new = dodnet(heads=(4, 2, 3)).eval(), dodnet(heads=(3, 2)).eval()
    new.load_state_dict(new.adopt(old.state_dict(), old.heads, [2, 1]))
    with torch.no_grad():
        old.set_task(2)
        assert_close(new(images())[0], old(images())[0])


def test_a_controller_of_another_head_is_not_taken():
    old, new = dodnet(depth=2), dodnet(depth=3)
    adopted = new.adopt(old.state_dict(), old.heads, [0, 1, 2])
    assert set(old.state_dict()) - set(adopted) == {"controller.weight", "controller.bias"}
    stock = {name: tensor for name, tensor in old.state_dict().items() if not name.startswith("controller")}
    assert set(new.adopt(stock, (3,), [0, None, None])) == set(stock)


@pytest.mark.parametrize("deep_supervision", [True, False])
def test_the_planner_counts_the_head(deep_supervision):
    network = dodnet(deep_supervision=deep_supervision)
    size = GEOMETRIES["3d"][2]
    parts = network.encoder.compute_conv_feature_map_size(size) + network.decoder.compute_conv_feature_map_size(size)
    voxels = math.prod(size) * (1 + 1 / 8 if deep_supervision else 1)
    assert network.compute_conv_feature_map_size(size) - parts == voxels * (3 * 5 + 2 * 4)


def test_another_network_is_refused():
    with pytest.raises(TypeError, match="expected plans of a PlainConvUNet or ResidualEncoderUNet, got Identity"):
        DoDNet(nn.Identity(), heads=(2,), channels=(1,))
