"""The plans' network for a method to build on; another kind is one line."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from small_unet import planned_unet as architecture
from torch import nn

from nnunet_ext.errors import UserError
from nnunet_ext.networks.unet import decoder_like, planned_unet

PLANS = PlansManager({"plans_name": "UnitPlans", "configurations": {"3d_fullres": {"architecture": architecture()}}})


def test_it_is_stocks_network():
    network = planned_unet(PLANS, PLANS.get_configuration("3d_fullres"), 2, 5, False)
    assert isinstance(network, PlainConvUNet)
    assert network.encoder.stages[0][0].convs[0].conv.in_channels == 2
    assert network.decoder.num_classes == 5
    assert not network.decoder.deep_supervision


def test_another_network_is_one_line(monkeypatch):
    monkeypatch.setattr(nnUNetTrainer, "build_network_architecture", staticmethod(lambda *_: nn.Conv3d(2, 3, 1)))
    with pytest.raises(UserError) as caught:
        planned_unet(PLANS, PLANS.get_configuration("3d_fullres"), 2, 5, False)
    assert str(caught.value) == (
        "plans 'UnitPlans': expected plans of a PlainConvUNet or ResidualEncoderUNet, got Conv3d. Plan with "
        "ExperimentPlanner, nnUNetPlannerResEncM or a planner of nnunet_ext."
    )


KERNELS = [[1, 3], [3, 3], [3, 1]]


@pytest.fixture
def unet() -> PlainConvUNet:
    return PlainConvUNet(
        input_channels=1,
        n_stages=3,
        features_per_stage=[4, 6, 8],
        conv_op=nn.Conv2d,
        kernel_sizes=KERNELS,
        strides=[[1, 1], [2, 2], [2, 2]],
        n_conv_per_stage=[1, 1, 1],
        num_classes=5,
        n_conv_per_stage_decoder=[2, 1],
        norm_op=nn.InstanceNorm2d,
        nonlin=nn.ReLU,
        deep_supervision=True,
    )


def kernels(decoder: nn.Module) -> list[tuple[int, int]]:
    """Kernel of each stage, full resolution first."""
    return [stage.convs[0].conv.kernel_size for stage in reversed(decoder.stages)]


def test_same_form_fresh_weights_own_heads(unet):
    decoder = decoder_like(unet, 2)
    assert kernels(decoder) == [(1, 3), (3, 3)]
    assert [len(stage.convs) for stage in decoder.stages] == [2, 1]
    assert decoder.encoder is unet.encoder
    assert decoder.deep_supervision
    shapes = {name: tensor.shape for name, tensor in unet.decoder.state_dict().items() if "seg_layers" not in name}
    assert shapes == {name: tensor.shape for name, tensor in decoder.state_dict().items() if "seg_layers" not in name}
    assert not torch.equal(decoder.transpconvs[0].weight, unet.decoder.transpconvs[0].weight)
    assert [tensor.shape for tensor in decoder(unet.encoder(torch.randn(1, 1, 8, 8)))] == [(1, 2, 8, 8), (1, 2, 4, 4)]


def test_shifted_kernels_leave_the_encoder_as_it_was(unet):
    assert kernels(decoder_like(unet, 2, KERNELS[1:])) == [(3, 3), (3, 1)]
    assert unet.encoder.kernel_sizes == KERNELS


def test_refusals(unet):
    with pytest.raises(ValueError, match=r"expected 2 decoder kernel sizes, got \[\[3, 3\]\]; give one a stage"):
        decoder_like(unet, 2, [[3, 3]])
    with pytest.raises(TypeError, match="expected plans of a PlainConvUNet or ResidualEncoderUNet, got Conv3d"):
        decoder_like(nn.Conv3d(1, 1, 1), 2)
