"""Distinct tensors of state dicts: aliases, and names that mean the same in every U-Net."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.building_blocks.plain_conv_encoder import PlainConvEncoder
from small_unet import small_unet
from torch import nn

from nnunet_ext.methods.lefed.architecture import LeFeD
from nnunet_ext.methods.mc_net_plus.architecture import MCNetPlus
from nnunet_ext.methods.uniseg.architecture import UniSeg
from nnunet_ext.weights.places import Place, entries_of_file, entries_of_network, same

FIRST = "encoder.stages.0.0.convs.0."


def placed(network):
    """Return the place of every name."""
    entries = entries_of_network(network.state_dict())
    return {name: entry.place for entry in entries.values() for name in entry.names}


@pytest.mark.parametrize("kind", ["plain", "resenc"])
@pytest.mark.parametrize(
    "further", [{}, {"dropout_op": nn.Dropout3d, "dropout_op_kwargs": {"p": 0.1}}, {"nonlin_first": True}]
)
def test_names_and_memory_agree_on_what_is_one_tensor(kind, further):
    if kind == "resenc":
        further = {key: value for key, value in further.items() if key != "nonlin_first"}  # it has no such option
    state = small_unet(kind, convolutions=(1, 2, 2), **further).state_dict()
    by_memory = entries_of_network(state)
    alone = {name: tensor.clone() for name, tensor in state.items()}
    by_name = entries_of_file(alone, by_memory)
    assert {place: entry.names for place, entry in by_name.items()} == {
        place: entry.names for place, entry in by_memory.items()
    }
    assert len(by_memory) == len(list(small_unet(kind, convolutions=(1, 2, 2), **further).parameters()))
    assert sorted(name for entry in by_memory.values() for name in entry.names) == sorted(state)


def test_a_prelu_is_not_the_norm():
    network = small_unet(nonlin=nn.PReLU, nonlin_kwargs={})
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.add_(number)
    state = network.state_dict()
    ours = entries_of_network(state)
    theirs = entries_of_file({name: tensor.clone() for name, tensor in state.items()}, ours)
    names = theirs[Place("encoder.stages.0.convs.0.nonlin.weight")].names
    assert [name for name in names if not name.startswith("decoder")] == [
        f"{FIRST}nonlin.weight",
        f"{FIRST}all_modules.2.weight",
    ]


def test_parts_of_a_decoder_are_named_by_their_level():
    found = placed(small_unet(strides=[[1] * 3] + [[2] * 3] * 3, features=(4, 6, 8, 8)))
    for part, rest in (("stages", "convs.0.conv.weight"), ("transpconvs", "weight"), ("seg_layers", "bias")):
        for number in range(3):
            assert found[f"decoder.{part}.{number}.{rest}"] == Place(f"decoder.{part}.level {2 - number}.{rest}")


def test_the_only_head_of_another_decoder_is_at_full_resolution_and_side_heads_keep_their_names():
    found = placed(LeFeD(small_unet()))
    assert found["second_decoder.seg_layers.0.weight"] == Place("second_decoder.seg_layers.level 0.weight")
    assert found["decoder.seg_layers.0.weight"] == Place("decoder.seg_layers.level 1.weight")
    assert found["side.seg_layers.0.weight"] == Place("side.seg_layers.0.weight")
    assert found["second_decoder.stages.0.convs.0.norm.bias"].name == "second_decoder.stages.level 1.convs.0.norm.bias"


def test_each_of_several_further_decoders_has_its_levels():
    found = placed(MCNetPlus(small_unet()))
    assert found["further_decoders.1.stages.0.convs.0.norm.bias"] == Place(
        "further_decoders.1.stages.level 1.convs.0.norm.bias"
    )


def test_first_convolutions_have_one_place_and_their_numbers_of_channels():
    found = placed(UniSeg(small_unet(), heads=(2, 3), channels=(1, 3), patch_size=(8, 16, 12)))
    for number in (1, 3):
        for name in (
            f"{FIRST}conv.convs.{number}.bias",
            f"decoder.encoder.{FIRST[8:]}all_modules.0.convs.{number}.bias",
        ):
            assert found[name] == Place("encoder.stages.0.convs.0.conv.bias", number)


def test_pooling_before_a_convolution_or_a_shortcut_does_not_change_the_place():
    plain = nn.Module()
    plain.encoder = PlainConvEncoder(1, 2, (4, 4), nn.Conv3d, 3, (1, 2), 1, pool="max")
    plain = placed(plain)
    assert plain["encoder.stages.1.1.convs.0.conv.weight"] == Place("encoder.stages.1.convs.0.conv.weight")
    residual = placed(small_unet("resenc", strides=[[1] * 3, [1] * 3, [2] * 3]))
    assert residual["encoder.stages.1.blocks.0.skip.0.norm.bias"].name == "encoder.stages.1.blocks.0.skip.norm.bias"
    assert residual["encoder.stages.2.blocks.0.skip.1.norm.bias"].name == "encoder.stages.2.blocks.0.skip.norm.bias"


def test_different_values_under_two_names_of_one_tensor_are_refused():
    network = small_unet()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state[f"{FIRST}all_modules.0.bias"] += 1
    expected = rf"one tensor under the names '{FIRST}conv.bias' and '{FIRST}all_modules.0.bias', found different"
    with pytest.raises(ValueError, match=expected):
        entries_of_file(state, entries_of_network(network.state_dict()))


class Apart(nn.Module):
    """Two encoders, one of them in the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 2)
        self.decoder = nn.ModuleDict({"encoder": nn.Linear(2, 2)})


def test_what_a_network_keeps_apart_is_kept_apart_in_its_checkpoints():
    state = Apart().state_dict()
    ours = entries_of_network(state)
    assert [entry.names for entry in ours.values()] == [(name,) for name in state]
    theirs = entries_of_file({name: tensor.clone() for name, tensor in state.items()}, ours)
    assert theirs.keys() == ours.keys()


def test_same():
    nan = torch.tensor([1.0, float("nan")])
    assert same(nan, nan.clone())
    assert not same(nan, torch.tensor([1.0, 1.0]))
    assert not same(torch.zeros(2, 1), torch.zeros(1, 2))
    assert not same(torch.zeros(2), torch.zeros(2, dtype=torch.float64))
    whole = torch.arange(4.0)
    assert not same(whole[:2], whole[2:])
    assert not same(whole.reshape(2, 2), whole.reshape(2, 2).T)
    assert same({"rounds": 1}, {"rounds": 1})
    assert not same({"rounds": 1}, {"rounds": 2})
    assert not same(torch.zeros(1), 0.0)
