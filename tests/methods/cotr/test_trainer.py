"""CoTrTrainer: the plans' knobs make the network; what cannot be built is one line."""

from __future__ import annotations

import pytest
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from small_unet import planned_unet
from torch import nn

from nnunet_ext.base.knobs import BLOCK
from nnunet_ext.errors import UserError
from nnunet_ext.methods.cotr.architecture import CoTr
from nnunet_ext.methods.cotr.trainer import CoTrTrainer


def plans(**knobs: object) -> PlansManager:
    architecture = planned_unet([[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 1, 2]], features=[4, 6, 8, 10])
    configuration = {"patch_size": [8, 8, 16], "batch_size": 2, "architecture": architecture}
    return PlansManager(
        {"plans_name": "UnitPlans", "configurations": {"3d_fullres": configuration}, BLOCK: {"cotr": knobs}}
    )


def build(of: PlansManager, **options: bool) -> nn.Module:
    return CoTrTrainer.build_network_architecture(of, of.get_configuration("3d_fullres"), 2, 3, **options)


def test_knobs_make_the_network():
    network = build(plans(levels=3, width=24, layers=2, heads=4, points=3, dropout=0.25), enable_deep_supervision=True)
    assert isinstance(network, CoTr)
    assert network.transformer.level_embedding.shape == (3, 24)
    assert len(network.transformer.layers) == 2
    attention = network.transformer.layers[0].attention
    assert (attention.levels, attention.heads, attention.points, attention.dims) == (3, 4, 3, 3)
    assert {module.p for module in network.modules() if isinstance(module, nn.Dropout)} == {0.25}
    sizes = [tuple(scale.shape) for scale in network(torch.randn(1, 2, 8, 8, 16))]
    assert sizes == [(1, 3, 8, 8, 16), (1, 3, 8, 4, 8), (1, 3, 4, 2, 4)]


def test_without_knobs_it_is_the_authors():
    network = build(plans(), enable_deep_supervision=False)
    attention = network.transformer.layers[0].attention
    assert (len(network.transformer.layers), attention.levels, attention.heads, attention.points) == (6, 2, 6, 4)
    assert attention.output.in_features == 96
    assert network.transformer.layers[0].hidden == 4 * 96
    assert not network.decoder.deep_supervision


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"width": 100}, "knobs cotr.*: expected channels that 6 heads can share, got 100"),
        ({"dropout": 1}, "knob 'cotr.dropout' expects a number >= 0 and < 1, got 1"),
        ({"level": 3}, "unknown knob 'cotr.level'. Did you mean 'levels'?"),
    ],
)
def test_illegal_knobs_are_one_line(knobs, message):
    with pytest.raises(UserError) as caught:
        build(plans(**knobs))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
