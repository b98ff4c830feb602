"""The adaptation plan that a pre-training of ours writes is one that is read again; where there can be none, none."""

from types import SimpleNamespace
from typing import Any

import pytest
from nnssl_checkpoint import kwargs_of, network_of
from torch import nn

from nnunet_ext.fine_tuning.source.plain_json import plain_json
from nnunet_ext.nnssl.adaptation_plan import AdaptationPlan
from nnunet_ext.nnssl.encoder_weights import EncoderWeights
from nnunet_ext.nnssl.written_plan import written_plan

NETWORK = network_of()


def write(network: nn.Module = NETWORK, patch_size=(16, 24, 24), schemes=("ZScoreNormalization",)) -> dict | None:
    planned = {
        "spacing": [3.0, 1.0, 2.0],
        "normalization_schemes": list(schemes),
        "use_mask_for_norm": [False] * len(schemes),
        "architecture": {"arch_kwargs": kwargs_of(NETWORK), "_kw_requires_import": ["conv_op", "norm_op", "nonlin"]},
    }
    plans: Any = SimpleNamespace(
        dataset_name="Dataset001_X", plans_name="P", plans={}, transpose_forward=[1, 0, 2], transpose_backward=[1, 0, 2]
    )
    configuration: Any = SimpleNamespace(configuration=planned, patch_size=patch_size)
    return written_plan(plans, configuration, "3d_fullres", network, len(schemes))


def test_it_is_read_again():
    content = plain_json(write())
    found = AdaptationPlan.read(content, "a.pth")
    assert (found.network, found.channels, found.patch_size) == ("ResidualEncoderUNet", 1, (16, 24, 24))
    assert (found.spacing, found.transpose, found.schemes) == ((3, 1, 2), (1, 0, 2), ("ZScoreNormalization",))
    assert found.kwargs == kwargs_of(NETWORK)
    weights = EncoderWeights.read(content, NETWORK.state_dict(), "a.pth").weights
    names = {name for name in NETWORK.state_dict() if name.startswith(("encoder.", "decoder.encoder."))}
    assert weights.keys() == names


@pytest.mark.parametrize(
    "other",
    [
        {"patch_size": (24, 24)},
        {"network": nn.Conv3d(1, 1, 1)},
        {"schemes": ("CTNormalization",)},
        {"schemes": ("ZScoreNormalization", "CTNormalization")},
    ],
)
def test_where_there_can_be_none(other: dict[str, Any]):
    assert write(**other) is None
