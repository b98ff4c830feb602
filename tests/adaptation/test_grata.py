"""GraTa's step, against numbers and a second implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from nnunet_ext.adaptation import grata
from nnunet_ext.adaptation.grata import RATE, adapt, cross_entropy, entropy, learning_rate
from nnunet_ext.adaptation.norm_parameters import norm_parameters
from nnunet_ext.adaptation.views import View


def test_entropy() -> None:
    even = torch.zeros(1, 2, 3)
    assert entropy(even, regions=False).item() == pytest.approx(0.5 * math.log(2))
    assert entropy(even, regions=True).item() == pytest.approx(0.5 * math.log(2))
    sure = torch.tensor([[[math.log(3)], [0.0]]])  # 0.75, 0.25; as sigmoids 0.75, 0.5
    assert entropy(sure, regions=False).item() == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / 2)
    assert entropy(sure, regions=True).item() == pytest.approx(-(0.75 * math.log(0.75) + 0.5 * math.log(0.5)) / 2)
    assert entropy(torch.tensor([[[1e4], [-1e4]]]), regions=True).isfinite()


def test_cross_entropy() -> None:
    logits, label = torch.tensor([[[math.log(3)], [0.0]]]), torch.tensor([[[0.4], [0.6]]])
    assert cross_entropy(logits, label, regions=False).item() == pytest.approx(
        -0.4 * math.log(0.75) - 0.6 * math.log(0.25)
    )
    binary = -(0.4 * math.log(0.75) + 0.6 * math.log(0.25) + math.log(0.5)) / 2
    assert cross_entropy(logits, label, regions=True).item() == pytest.approx(binary)


def test_the_rate_falls_with_the_angle() -> None:
    one = [torch.tensor([1.0, 0.0]), torch.tensor([0.0])]
    for other, cosine in ((2.0, 1), (-2.0, -1)):
        assert learning_rate(one, [torch.tensor([other, 0.0]), torch.tensor([0.0])]) == RATE * (cosine + 1) ** 2 / 4
    assert learning_rate(one, [torch.tensor([0.0, 0.0]), torch.tensor([3.0])]) == RATE / 4


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.InstanceNorm2d(4, affine=True), nn.LeakyReLU(), nn.Conv2d(4, 2, 1)
    ).eval()
    net[3].weight.data *= 5
    net.requires_grad_(False)
    for parameter in norm_parameters(net):
        parameter.requires_grad_(True)
    return net


PATCHES = [np.random.default_rng(number).normal(size=(1, 6, 6)).astype(np.float32) for number in (1, 2)]


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("patches", [PATCHES, PATCHES[:1] * 2], ids=["different", "equal"])
def test_a_step(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch, patches: list[NDArray[np.float32]], regions: bool
) -> None:
    """By torch's functional calls, with gradients of the mean over patches at once."""
    monkeypatch.setattr(grata, "style_view", lambda patch, *_: patch * np.float32(1.5) + np.float32(0.2))
    view = View((1,))
    names = ["1.weight", "1.bias"]
    batch = torch.from_numpy(np.stack(patches))

    def chances(values: list[torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        logits = torch.func.functional_call(network, dict(zip(names, values, strict=True)), images)
        return logits.sigmoid() if regions else logits.softmax(1)

    start = [network[1].weight.detach().clone(), network[1].bias.detach().clone()]
    values = [value.requires_grad_() for value in start]
    first = chances(values, batch)
    auxiliary = torch.autograd.grad((-first * first.log()).mean(), values)
    moved = [(v - g).detach().requires_grad_() for v, g in zip(values, auxiliary, strict=True)]
    label = ((chances(moved, batch) + chances(moved, batch.flip(3)).flip(3)) / 2).detach()
    styled = chances(moved, batch * 1.5 + 0.2)
    loss = functional.binary_cross_entropy(styled, label) if regions else -(label * styled.log()).sum(1).mean()
    pseudo = torch.autograd.grad(loss, moved)
    one, other = torch.cat(auxiliary), torch.cat(pseudo)
    rate = 1e-4 * (float(one @ other / one.norm() / other.norm()) + 1) ** 2 / 4
    expected = [v.detach() - rate * g / (g.abs() + 1e-8) for v, g in zip(start, pseudo, strict=True)]

    before = {name: value.clone() for name, value in network.state_dict().items()}
    rates = adapt(
        network, norm_parameters(network), patches, [view], regions=regions, steps=1, generator=np.random.default_rng(0)
    )
    assert rates == [pytest.approx(rate, rel=1e-3)]
    for found, value in zip(norm_parameters(network), expected, strict=True):
        torch.testing.assert_close(found.detach(), value, rtol=0, atol=1e-7)
    for name in before.keys() - set(names):
        assert torch.equal(before[name], network.state_dict()[name]), name


def test_steps_follow_each_other_and_draw_new_styles(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(grata, "style_view", lambda patch, generator, _: drawn.append(generator.random()) or patch)
    with torch.inference_mode():  # as a caller may be
        rates = adapt(
            network, norm_parameters(network), PATCHES, [], regions=False, steps=3, generator=np.random.default_rng(0)
        )
    assert len(rates) == 3
    assert len(set(drawn)) == 6


@pytest.mark.parametrize(("patches", "passes"), [(PATCHES, 8), (PATCHES[:1] * 2, 5)], ids=["different", "equal"])
def test_what_equal_patches_share_is_computed_once(network: nn.Module, patches: list, passes: int) -> None:
    """An entropy, and the labels of a patch and of one view; each patch has a style of its own."""
    counted = []
    network.register_forward_hook(lambda *_: counted.append(1))
    generator = np.random.default_rng(0)
    adapt(network, norm_parameters(network), patches, [View((1,))], regions=False, steps=1, generator=generator)
    assert len(counted) == passes


def test_the_rate(network: nn.Module) -> None:
    def rates(**given: float) -> list[float]:
        generator = np.random.default_rng(0)
        state = {name: value.clone() for name, value in network.state_dict().items()}
        found = adapt(
            network, norm_parameters(network), PATCHES, [], regions=False, steps=1, generator=generator, **given
        )
        network.load_state_dict(state)
        return found

    assert rates(rate=1e-2) == [pytest.approx(100 * rates()[0])]


def test_parameters_without_a_part_in_the_loss_stay(network: nn.Module) -> None:
    """Norms of another task."""
    spare = nn.InstanceNorm2d(3, affine=True)
    network.add_module("spare", spare)
    used = [*network[1].parameters(), *spare.parameters()]
    network.forward = lambda x: network[3](network[2](network[1](network[0](x))))  # type: ignore[method-assign]
    adapt(network, used, PATCHES, [], regions=False, steps=1, generator=np.random.default_rng(0))
    assert torch.equal(spare.weight, torch.ones(3))
    assert not torch.equal(network[1].weight, torch.ones(4))
