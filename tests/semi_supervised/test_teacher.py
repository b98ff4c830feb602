"""Moving averages worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnunet_ext.semi_supervised.teacher import Ema


class Scale(nn.Module):
    """One parameter, a buffer of either kind."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value]))
        self.register_buffer("mean", torch.tensor([10 * value]))
        self.register_buffer("count", torch.tensor(int(value)))


def test_the_first_update_copies_then_the_decay_grows_up_to_its_limit():
    ema = Ema(Scale(8.0), decay=0.6)
    expected = 8.0
    for value, decay in ((4.0, 0.0), (8.0, 0.5), (0.0, 0.6), (5.0, 0.6)):
        ema.update(Scale(value))
        expected = decay * expected + (1 - decay) * value
        assert float(ema.network.weight) == pytest.approx(expected)
        assert float(ema.network.mean) == pytest.approx(10 * expected)
        assert int(ema.network.count) == int(value)
    assert expected == pytest.approx(0.6 * 0.6 * 6 + 0.4 * 5)


def test_the_teacher_is_a_copy_in_eval_mode_without_gradients():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
    ema = Ema(network, 0.9)
    assert not ema.network.training
    assert network.training
    assert not any(parameter.requires_grad for parameter in ema.network.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    before = ema.network[0].weight.clone()
    with torch.no_grad():
        network[0].weight += 1
    assert torch.equal(ema.network[0].weight, before)


def test_it_goes_on_where_it_was():
    whole, broken = Ema(Scale(1.0), 0.9), Ema(Scale(1.0), 0.9)
    for value in (3.0, 7.0):
        whole.update(Scale(value))
        broken.update(Scale(value))
    continued = Ema(Scale(0.0), 0.9)
    continued.load_state_dict(broken.state_dict())
    for ema in (whole, continued):
        ema.update(Scale(2.0))
    assert torch.equal(whole.network.weight, continued.network.weight)
    assert whole.updates == continued.updates == 3


def test_another_network_is_no_student():
    with pytest.raises(ValueError, match="shorter"):
        Ema(nn.Linear(2, 2), 0.9).update(nn.Linear(2, 2, bias=False))
