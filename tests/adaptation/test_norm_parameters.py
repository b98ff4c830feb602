"""Only instance norms with weight and bias are adapted."""

from __future__ import annotations

import pytest
from torch import nn

from nnunet_ext.adaptation.norm_parameters import norm_parameters
from nnunet_ext.errors import UserError


def test_only_instance_norms() -> None:
    norm = nn.InstanceNorm3d(2, affine=True)
    network = nn.Sequential(nn.Conv3d(1, 2, 1), norm, nn.LayerNorm(2), nn.InstanceNorm3d(2), nn.Sequential(norm))
    assert [id(each) for each in norm_parameters(network)] == [id(norm.weight), id(norm.bias)]


@pytest.mark.parametrize(
    ("norms", "found"),
    [
        ([nn.BatchNorm3d(2), nn.LayerNorm(2)], "BatchNorm3d, LayerNorm"),
        ([nn.InstanceNorm3d(2)], "InstanceNorm3d"),
        ([], "no norm"),
    ],
)
def test_a_network_without(norms: list[nn.Module], found: str) -> None:
    with pytest.raises(UserError, match=rf"expected a network with instance norms .* found {found}\. Predict without"):
        norm_parameters(nn.Sequential(*norms))
