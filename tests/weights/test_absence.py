"""Why one network has no counterpart of another one's tensor, in words."""

from __future__ import annotations

import pytest
from small_unet import small_unet

from nnunet_ext.weights.absence import why_absent
from nnunet_ext.weights.places import entries_of_network

THERE = {
    "plain": {"convolutions": (2, 2, 2), "decoder_convolutions": (2, 1)},
    "resenc": {"kind": "resenc", "convolutions": (1, 2, 2)},
    "bare": {"norm_op": None, "conv_bias": False},
}


@pytest.mark.parametrize(
    ("there", "name", "expected"),
    [
        ("plain", "encoder.stages.3.convs.0.conv.weight", "HERE has 3 stages"),
        ("plain", "encoder.stages.2.convs.2.conv.weight", "HERE has only 2 convs in this stage"),
        ("plain", "encoder.stages.2.blocks.0.conv1.norm.bias", "THIS has a residual encoder, HERE a plain one"),
        ("plain", "encoder.stem.convs.0.conv.weight", "THIS has a residual encoder, HERE a plain one"),
        ("resenc", "encoder.stages.0.convs.0.conv.weight", "THIS has a plain encoder, HERE a residual one"),
        ("resenc", "encoder.stages.3.blocks.0.conv1.conv.bias", "HERE has 3 stages"),
        ("resenc", "encoder.stages.1.blocks.2.conv1.conv.bias", "HERE has only 2 blocks in this stage"),
        ("resenc", "encoder.stages.0.blocks.0.skip.norm.bias", "not in HERE"),
        ("plain", "decoder.stages.level 2.convs.0.conv.bias", "HERE has 3 stages"),
        ("plain", "decoder.transpconvs.level 3.bias", "HERE has 3 stages"),
        ("plain", "decoder.stages.level 0.convs.1.norm.bias", "HERE has only 1 convs in this stage"),
        ("plain", "decoder.stages.level 1.convs.2.norm.bias", "HERE has only 2 convs in this stage"),
        ("plain", "decoder.transpconvs.level 1.1.conv.bias", "not in HERE"),
        ("plain", "encoder.stages.0.convs.0.norm.running_mean", "HERE has no running_mean here"),
        ("bare", "encoder.stages.0.convs.0.conv.bias", "HERE has no bias here"),
        ("bare", "encoder.stages.0.convs.0.norm.bias", "HERE has no norm here"),
        ("plain", "boundary_decoder.stages.level 2.convs.0.conv.bias", "not in HERE"),
        ("plain", "prompt", "not in HERE"),
    ],
)
def test_why(there, name, expected):
    places = {place.name for place in entries_of_network(small_unet(**THERE[there]).state_dict())}
    assert name not in places
    assert why_absent(name, places, "THIS", "HERE") == expected


def test_a_decoder_that_has_no_head_at_a_level():
    there = ["encoder.stages.0.convs.0.conv.bias", "encoder.stages.1.convs.0.conv.bias"]
    there += ["encoder.stages.2.convs.0.conv.bias", "decoder.seg_layers.level 0.bias"]
    expected = "HERE has no seg_layers at level 1"
    assert why_absent("decoder.seg_layers.level 1.bias", there, "THIS", "HERE") == expected
