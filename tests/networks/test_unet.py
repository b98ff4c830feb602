"""The plans' network for a method to build on; another kind is one line."""

from __future__ import annotations

import pytest
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from small_unet import planned_unet as architecture
from torch import nn

from nnunet_ext.errors import UserError
from nnunet_ext.networks.unet import planned_unet

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
