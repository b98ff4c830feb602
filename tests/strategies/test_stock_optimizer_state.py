"""What checkpoints hold of an optimizer that trains a part of the network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnunet_ext.base.optimizers import kind_of
from nnunet_ext.strategies.stock_optimizer_state import StockOptimizerState


def made(kind: str) -> tuple[nn.Module, torch.optim.Optimizer, StockOptimizerState]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    groups = [{"params": list(network[1].parameters()), "lr_factor": 0.5}]
    if kind == "AdamW":
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(groups, 0.1)
    else:
        optimizer = torch.optim.SGD(groups, 0.1, momentum=0.99, nesterov=True, weight_decay=0.1)
    return network, optimizer, StockOptimizerState(optimizer, 4)


def steps(network: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    for _ in range(number):
        optimizer.zero_grad()
        network(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_stock_loads_it_and_it_resumes(kind):
    network, optimizer, state = made(kind)
    steps(network, optimizer, 2)
    given, own = optimizer.state_dict(), state.state_dict()
    assert kind_of(given) == kind
    assert given["state"] == {}
    assert [group["params"] for group in given["param_groups"]] == [[0, 1, 2, 3]]
    assert "lr_factor" not in given["param_groups"][0]
    everything = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)).parameters()
    stock = torch.optim.AdamW(everything) if kind == "AdamW" else torch.optim.SGD(everything)
    stock.load_state_dict(given)

    other, other_optimizer, other_state = made(kind)
    other.load_state_dict(network.state_dict())
    other_optimizer.load_state_dict(given)
    assert other_optimizer.state == {}
    other_state.load_state_dict(own)
    assert other_optimizer.param_groups[0]["lr_factor"] == 0.5
    steps(other, other_optimizer, 1)
    expected = own["state"][0]["momentum_buffer" if kind == "SGD" else "exp_avg"].clone()
    steps(network, optimizer, 1)
    for one, same in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, same)
    if kind == "SGD":
        assert not torch.equal(expected, optimizer.state[next(network[1].parameters())]["momentum_buffer"])


def test_a_loaded_state_is_a_copy():
    network, optimizer, state = made("SGD")
    steps(network, optimizer, 1)
    other, other_optimizer, other_state = made("SGD")
    given = {"state": {0: {"momentum_buffer": torch.ones(2, 3)}, 1: {"momentum_buffer": torch.ones(2)}}}
    other_state.load_state_dict(given | {"param_groups": state.state_dict()["param_groups"]})
    steps(other, other_optimizer, 1)
    assert given["state"][0]["momentum_buffer"].eq(1).all()
