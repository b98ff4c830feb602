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


class Other(nn.Module):
    """As many elements in another shape, a longer vector, and one tensor that fits."""

    def __init__(self, weight: tuple[int, ...], bias: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(weight)), nn.Parameter(torch.zeros(bias))
        self.fits = nn.Parameter(torch.zeros(2))


def test_equal_numbers_of_elements_do_not_fit_and_neither_do_vectors_of_another_length(tmp_path):
    weights = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.arange(4.0), "fits": torch.ones(2)}
    torch.save({"network_weights": weights}, tmp_path / "checkpoint_final.pth")
    network = Other((3, 2), 5)
    assert init_from(network, str(tmp_path / "checkpoint_final.pth")) == [
        "kept    weight (3, 2): the file has (2, 3)",
        "kept    bias (5,): the file has (4,)",
        "loaded  fits (2,)",
    ]
    assert not network.weight.any()
    assert not network.bias.any()
    assert network.fits.tolist() == [1, 1]
