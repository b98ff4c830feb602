"""Which part of a network a parameter belongs to, and how deep it is."""

from __future__ import annotations

import pytest
from small_unet import small_unet

from nnunet_ext.methods.uniseg.architecture import UniSeg
from nnunet_ext.networks.parts import levels_of, part_of


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("encoder.stages.0.0.convs.0.conv.weight", "encoder"),
        ("encoder.stem.convs.0.conv.weight", "encoder"),
        ("decoder.encoder.stages.1.0.convs.0.norm.bias", "encoder"),
        ("decoder.stages.0.convs.0.conv.weight", "decoder"),
        ("decoder.transpconvs.0.weight", "decoder"),
        ("decoder.seg_layers.0.weight", "head"),
        ("boundary_decoder.seg_layers.0.weight", "head"),
        ("boundary_decoder.stages.0.convs.0.conv.weight", "head"),
        ("controller.weight", "head"),
        ("prompt", "head"),
    ],
)
def test_part_of(name, part):
    assert part_of(name) == part


def test_the_encoder_is_found_under_its_second_name():
    """UniSeg makes its decoder first, so that the encoder's parameters are those of ``decoder.encoder``."""
    network = UniSeg(small_unet(), heads=(3, 2), channels=(1,), patch_size=(8, 16, 12))
    names = [name for name, _ in network.named_parameters()]
    assert any(name.startswith("decoder.encoder.") for name in names)
    assert {part_of(name) for name in names} == {"encoder", "decoder", "head"}
    assert part_of("decoder.encoder.stages.0.0.convs.0.conv.convs.1.weight") == "encoder"


def test_levels(kind):
    """Three stages: heads 0; decoder 1 (full resolution) and 2; encoder 3 (bottleneck), 4 and 5 (first)."""
    levels = levels_of(name for name, _ in small_unet(kind).named_parameters())
    assert levels["decoder.seg_layers.0.weight"] == levels["decoder.seg_layers.1.weight"] == 0
    assert levels["decoder.stages.1.convs.0.conv.weight"] == levels["decoder.transpconvs.1.weight"] == 1
    assert levels["decoder.stages.0.convs.0.conv.weight"] == levels["decoder.transpconvs.0.bias"] == 2
    depth = {}
    for name, level in levels.items():
        if name.startswith("encoder.stages."):
            depth.setdefault(name.split(".")[2], set()).add(level)
        if name.startswith("encoder.stem."):
            assert level == 5
    assert depth == {"0": {5}, "1": {4}, "2": {3}}
    assert levels_of(["encoder.stages.1.0.convs.0.conv.weight", "decoder.encoder.stages.0.0.conv.weight"]) == {
        "encoder.stages.1.0.convs.0.conv.weight": 2,
        "decoder.encoder.stages.0.0.conv.weight": 3,
    }
