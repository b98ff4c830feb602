"""init_from: which tensors are taken, and what is said of the others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnunet_ext.base.init_from import init_from
from nnunet_ext.errors import UserError


class Net(nn.Module):
    def __init__(self, classes: int, *, extra: bool) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 3, bias=False)
        self.head = nn.Linear(3, classes, bias=False)
        if extra:
            self.boundary = nn.Linear(3, 2, bias=False)


@pytest.fixture
def stock(tmp_path):
    network = Net(4, extra=False)
    weights = network.state_dict() | {"old.weight": torch.zeros(7)}
    torch.save({"network_weights": weights}, tmp_path / "checkpoint_final.pth")
    return network, tmp_path / "checkpoint_final.pth"


def test_every_tensors_fate_is_told(stock):
    source, file = stock
    network = Net(5, extra=True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert init_from(network, str(file)) == [
        "loaded  encoder.weight (3, 2)",
        "kept    head.weight (5, 3): the file has (4, 3)",
        "kept    boundary.weight (2, 3): not in the file",
        "unused  old.weight (7,): not in the network",
    ]
    assert torch.equal(network.encoder.weight, source.encoder.weight)
    assert torch.equal(network.head.weight, before["head.weight"])
    assert torch.equal(network.boundary.weight, before["boundary.weight"])


def test_variables_in_the_path_are_expanded(stock, monkeypatch):
    _, file = stock
    monkeypatch.setenv("MODELS", str(file.parent))
    assert init_from(Net(4, extra=False), "$MODELS/checkpoint_final.pth")[0] == "loaded  encoder.weight (3, 2)"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"expected an nnU-Net checkpoint, found no file '.*nothing.pth'"):
        init_from(Net(4, extra=False), str(tmp_path / "nothing.pth"))


def test_a_file_without_one_fitting_tensor_is_refused(stock):
    _, file = stock
    with pytest.raises(UserError, match="expected tensors that fit the network, found none"):
        init_from(nn.Linear(9, 9), str(file))
