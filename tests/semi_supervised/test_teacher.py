"""Moving averages worked out by hand."""

from __future__ import annotations

import pytest
import torch
from small_unet import small_unet
from torch import nn

from nnunet_ext.networks.lora import add_lora, has_lora
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
    with pytest.raises(ValueError, match="expected the network that the average began with"):
        Ema(nn.Linear(2, 2), 0.9).update(nn.Linear(2, 2, bias=False))


def test_lora_is_averaged_as_adapted_weights():
    """The mean of two products of factors is not the product of the factors' means."""
    student, plain = small_unet(), small_unet()
    add_lora(student, rank=2, parts=("encoder", "decoder"))
    ema, expected = Ema(student, 0.5), Ema(plain, 0.5)
    assert not has_lora(ema.network)
    for seed in range(3):
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in student.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn_like(parameter)
        plain.load_state_dict(student.state_dict())
        ema.update(student)
        expected.update(plain)
    assert has_lora(student)
    for name, tensor in expected.network.state_dict().items():
        torch.testing.assert_close(ema.network.state_dict()[name], tensor, msg=name)
    first = "encoder.stages.0.0.convs.0.conv.weight"
    assert not torch.equal(ema.network.state_dict()[first], plain.state_dict()[first])
