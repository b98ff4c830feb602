"""LoRA by hand, and on whole networks: nothing changes at first, and merging changes nothing either."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from small_unet import small_unet
from torch import nn
from torch.nn.utils import parametrize

from nnunet_ext.networks.lora import (
    add_lora,
    has_lora,
    load_lora_state,
    lora_state,
    merge_lora,
    trainable_share,
)
from nnunet_ext.networks.parts import part_of

IMAGE = torch.randn(2, 1, 8, 16, 12, generator=torch.Generator().manual_seed(0))


def trained(network: nn.Module, steps: int = 3) -> nn.Module:
    """Give all factors random steps."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in itertools.product(range(steps), [p for p in network.parameters() if p.requires_grad]):
            parameter += 0.01 * (name + 1) * torch.randn(parameter.shape, generator=generator)
    return network


def test_by_hand():
    """W = [1, 2], A = [[3]], B = [[0.5], [1]], alpha / rank = 2."""
    layer = nn.Conv3d(1, 2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1, 1))
    add_lora(layer, rank=1, alpha=2.0)
    factors = {"weight": torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1, 1), "a": torch.tensor([[3.0]])}
    load_lora_state(layer, {"": factors | {"b": torch.tensor([[0.5], [1.0]])}})
    assert layer.weight.flatten().tolist() == [4, 8]


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_by_a_loop(groups):
    """Each input voxel adds its kernel to the output; that of input i, output o is W + 2 sum_r B[i, r] A[r, o, k]."""
    torch.manual_seed(0)
    layer = nn.ConvTranspose3d(4, 6, (1, 2, 3), stride=(1, 2, 3), groups=groups)
    before = layer.weight.detach().clone()
    add_lora(layer, rank=2, alpha=4.0)
    trained(layer)
    state = lora_state(layer)[""]
    per_group = 6 // groups
    assert state["a"].shape == (2, per_group * 6)
    assert state["b"].shape == (4, 2)
    a = state["a"].reshape(2, per_group, 1, 2, 3)
    image = torch.randn(1, 4, 2, 2, 2)
    expected = layer.bias.detach().reshape(1, 6, 1, 1, 1).repeat(1, 1, 2, 4, 6)
    for i, o, x, y, z in itertools.product(range(4), range(per_group), range(2), range(2), range(2)):
        kernel = before[i, o] + 2 * sum(state["b"][i, r] * a[r, o] for r in range(2))
        output = i // (4 // groups) * per_group + o
        expected[0, output, x, 2 * y : 2 * y + 2, 3 * z : 3 * z + 3] += image[0, i, x, y, z] * kernel[0]
    torch.testing.assert_close(layer(image), expected)


def test_grouped_convolution():
    layer = nn.Conv2d(4, 6, 3, groups=2)
    add_lora(layer, rank=3)
    assert lora_state(layer)[""]["a"].shape == (3, 2 * 9)
    assert lora_state(layer)[""]["b"].shape == (6, 3)


def test_nothing_changes_at_first(kind):
    network = small_unet(kind)
    before = network(IMAGE)
    add_lora(network)
    for one, other in zip(network(IMAGE), before, strict=True):
        assert torch.equal(one, other)


def test_every_layer_is_used_and_learns(kind):
    """Changing B of any layer changes the output: no alias of a layer bypasses its factors."""
    network = small_unet(kind)
    names = add_lora(network)
    assert len(names) == len(set(names))
    with torch.no_grad():
        before = network(IMAGE)
        for layer, state in lora_state(network).items():
            state["b"].fill_(0.1)
            assert any(not torch.equal(*pair) for pair in zip(network(IMAGE), before, strict=True)), layer
            state["b"].zero_()
    sum(scale.square().sum() for scale in network(IMAGE)).backward()
    for name, parameter in network.named_parameters():
        if name.endswith(".original"):
            assert parameter.grad is None
        elif name.endswith("0.b"):
            assert parameter.grad.any(), name


def test_merging_changes_nothing(kind):
    network = small_unet(kind)
    keys = list(network.state_dict())
    identities = [(name, id(parameter)) for name, parameter in network.named_parameters()]
    add_lora(network, rank=2)
    trained(network)
    expected = network(IMAGE)
    assert list(network.state_dict()) == keys
    given = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    merge_lora(network)
    assert not has_lora(network)
    assert list(network.state_dict()) == keys
    for one, other in zip(network(IMAGE), expected, strict=True):
        assert (one - other).abs().max() < 1e-6
    assert all(torch.equal(given[name], tensor) for name, tensor in network.state_dict().items())
    assert [(name, id(parameter)) for name, parameter in network.named_parameters()] == identities
    assert all(parameter.requires_grad for parameter in network.parameters())
    add_lora(network, rank=2)
    assert list(network.state_dict()) == keys
    network.load_state_dict(network.state_dict())


def test_the_state_dict_is_stock():
    """Adapted weights, each once in memory, load into a stock network; the network keeps its factors."""
    network = trained_network()
    state = network.state_dict()
    plain = small_unet()
    assert list(state) == list(plain.state_dict())
    names = [f"{where}convs.0.{what}.weight" for where in ("encoder.stages.1.0.", "decoder.encoder.stages.1.0.")
             for what in ("conv", "all_modules.0")]  # fmt: skip
    assert len({state[name].data_ptr() for name in names}) == 1
    plain.load_state_dict(state)
    for one, other in zip(plain(IMAGE), network(IMAGE), strict=True):
        assert torch.equal(one, other)
    assert has_lora(network)
    nested = nn.ModuleDict({"module": network}).state_dict()
    assert [name.removeprefix("module.") for name in nested] == list(state)


def counted(network: nn.Module) -> list[int]:
    """A list that grows with every weight that is computed."""
    calls: list[int] = []
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            module.parametrizations.weight[0].register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_a_weight_is_computed_once_until_something_changes():
    """Aliases do not count, and nnU-Net's call for every key of a checkpoint costs nothing."""
    network = trained_network()
    calls = counted(network)
    first = network.state_dict()
    assert len(calls) == len(lora_state(network)) == 9
    again = network.state_dict()
    assert len(calls) == 9
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())


def changes() -> dict[str, Any]:
    def step(network):
        optimizer = torch.optim.SGD([each for each in network.parameters() if each.requires_grad], 0.1)
        sum(scale.square().sum() for scale in network(IMAGE)).backward()
        optimizer.step()

    def moved(network):
        for module in layers(network):
            module.parametrizations.weight.original.data = torch.randn(module.weight.shape)

    return {
        "step": step,
        "load_state_dict": lambda network: network.load_state_dict(small_unet().state_dict()),
        "load_lora_state": lambda network: load_lora_state(network, lora_state(trained(trained_network()))),
        "a": lambda network: [state["a"].mul_(2) for state in lora_state(network).values()],
        "b": lambda network: [state["b"].mul_(2) for state in lora_state(network).values()],
        "weight": lambda network: [state["weight"].mul_(2) for state in lora_state(network).values()],
        "data": moved,
        "double": lambda network: network.double(),
        "what was given": lambda network: [tensor.mul_(2) for tensor in network.state_dict().values()],
    }


def layers(network: nn.Module) -> list[Any]:
    return [module for module in network.modules() if parametrize.is_parametrized(module, "weight")]


@pytest.mark.parametrize("change", list(changes()))
def test_a_weight_is_never_out_of_date(change):
    network = trained_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    changes()[change](network)
    state = network.state_dict()
    for name, module in network.named_modules(remove_duplicate=False):
        if parametrize.is_parametrized(module, "weight"):
            assert torch.equal(state[f"{name}.weight"], module.weight), name
            same = torch.allclose(state[f"{name}.weight"].float(), before[f"{name}.weight"], atol=1e-6)
            assert same == (change in ("double", "what was given")), name


def test_a_copy_gives_its_own_weights():
    network = trained_network()
    network.state_dict()
    other = copy.deepcopy(network)
    with torch.no_grad():
        for module in layers(other):
            module.parametrizations.weight[0].b.mul_(3)
    state = other.state_dict()
    assert all(
        torch.equal(state[f"{name}.weight"], m.weight) for name, m in other.named_modules() if m in layers(other)
    )


def test_loading_stock_weights():
    """They replace the frozen weights, and B becomes 0; half a state dict replaces half."""
    network, plain = trained_network(), small_unet()
    network.load_state_dict(plain.state_dict())
    for one, other in zip(plain(IMAGE), network(IMAGE), strict=True):
        assert torch.equal(one, other)
    assert not any(state["b"].any() for state in lora_state(network).values())
    network = trained_network()
    before = network.state_dict()
    half = {name: tensor for name, tensor in plain.state_dict().items() if part_of(name) == "encoder"}
    found = network.load_state_dict(half, strict=False)
    assert not found.unexpected_keys
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, half.get(name, before[name])), name
    with pytest.raises(RuntimeError, match=r"Missing key.*decoder"):
        network.load_state_dict(half)


def trained_network() -> nn.Module:
    torch.manual_seed(3)
    network = small_unet()
    add_lora(network, rank=2)
    return trained(network)


def test_lora_state_resumes_exactly():
    network, other = trained_network(), small_unet()
    add_lora(other, rank=2)
    other.load_state_dict(network.state_dict())
    load_lora_state(other, copy.deepcopy(lora_state(network)))
    for one, same in zip(network.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(one[1], same[1]), one[0]
    state = lora_state(network)
    state.pop(next(iter(state)))
    with pytest.raises(ValueError, match="expected factors of 9 layers, got 8"):
        load_lora_state(other, state)


def test_copies_are_independent():
    network = trained_network()
    other = copy.deepcopy(network)
    merge_lora(other)
    assert has_lora(network)
    assert list(other.state_dict()) == list(network.state_dict())
    for one, same in zip(network(IMAGE), other(IMAGE), strict=True):
        assert (one - same).abs().max() < 1e-6
    fresh = small_unet()
    copied = copy.deepcopy(network)
    copied.load_state_dict(fresh.state_dict())
    assert not any(torch.equal(*pair) for pair in zip(network(IMAGE), copied(IMAGE), strict=True))


@pytest.mark.parametrize(("parts", "expected"), [(("encoder",), 3), (("decoder",), 4), (("encoder", "decoder"), 7)])
def test_parts(parts, expected):
    network = small_unet()
    names = add_lora(network, parts=parts)
    assert len(names) == expected
    assert {part_of(name) for name in names} == set(parts)


def test_number_of_parameters():
    """The plain network of 6 stages at full width and rank 8: 32 layers, 1.03 M of 31.2 M."""
    with torch.device("meta"):
        network = small_unet(
            strides=[[1] * 3] + [[2] * 3] * 5,
            features=(32, 64, 128, 256, 320, 320),
            convolutions=[2] * 6,
            decoder_convolutions=[2] * 5,
        )
        sizes = {name: module.weight.shape for name, module in network.named_modules() if hasattr(module, "weight")}
    network.to_empty(device="cpu")
    names = add_lora(network)
    assert len(names) == 32
    total = 0
    for name, state in lora_state(network).items():
        rows, *rest = sizes[name]
        formula = 8 * (rows + torch.Size(rest).numel())
        assert state["a"].numel() + state["b"].numel() == formula, name
        total += formula
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.endswith(("0.a", "0.b")))
    trained_number, whole = trainable_share(network)
    assert trained_number == total
    assert (round(total / 1e6, 2), round(whole / 1e6, 1)) == (1.03, 31.2)


def test_full_precision_under_autocast():
    layer = nn.Conv2d(3, 4, 3)
    add_lora(layer, rank=2)
    trained(layer)
    expected = layer.weight
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer.weight, expected)


def test_compiled():
    """One graph, the same output, and every factor gets its gradient."""
    torch._dynamo.reset()
    network = trained_network()
    for parameter in network.parameters():
        parameter.grad = None
    expected = network(IMAGE)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    output = compiled(IMAGE)
    for one, other in zip(output, expected, strict=True):
        torch.testing.assert_close(one, other)
    sum(scale.square().sum() for scale in output).backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert all(gradient is not None for gradient in gradients.values())
    assert all(gradient.any() for name, gradient in gradients.items() if name.endswith(("0.a", "0.b")))


def test_refused():
    with pytest.raises(ValueError, match="expected a rank of at least 1, got 0"):
        add_lora(small_unet(), rank=0)
    with pytest.raises(ValueError, match="expected a convolution in head, found none"):
        add_lora(nn.ModuleDict({"encoder": nn.Conv2d(1, 1, 1)}), parts=("head",))
    network = small_unet()
    add_lora(network)
    with pytest.raises(ValueError, match="expected a network without LoRA"):
        add_lora(network)
    assert not parametrize.is_parametrized(small_unet())
