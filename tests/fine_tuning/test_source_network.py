"""A network that cannot be built here, or is not the weights', is refused in one line."""

import pytest
import torch
from nnssl_checkpoint import adaptation_plan, network_of, write_nnssl

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.source.read_source import read_source
from nnunet_ext.fine_tuning.source_network import SourceNetwork


def test_what_divides_a_patch(source):
    assert SourceNetwork(source()).divisor == (4, 8, 8)
    model = source()
    model.architecture["arch_kwargs"]["strides"] = [1, 2, 2, 2]
    assert SourceNetwork(model).divisor == (8, 8, 8)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"network_class_name": "somewhere.else.GreatNet"}, "the network class somewhere.else.GreatNet of its plans, "),
        (
            {"arch_kwargs": {"n_stages": 3}, "_kw_requires_import": []},
            "can build from arch_kwargs of the plans, got TypeE",
        ),
        ({"_kw_requires_import": ["missing"]}, "can build from arch_kwargs of the plans, got KeyError"),
    ],
)
def test_networks_that_cannot_be_built(source, change, text, capfd):
    model = source()
    model.architecture.update(change)
    with pytest.raises(UserError) as error:
        SourceNetwork(model)
    assert text in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_weights_of_another_network(source):
    other = {"layers.0.weight": torch.zeros(2)}
    with pytest.raises(UserError, match="found none of its tensors: trainer GreatTrainer builds another network"):
        SourceNetwork(source(weights=other, trainer="GreatTrainer"))
    SourceNetwork(source(weights=other, trainer="UniSegTrainer"))  # ours are mapped when they are loaded


def test_weights_that_fit_have_no_misfits(source):
    assert SourceNetwork(source()).misfits == []
    assert SourceNetwork(source(channels=("CT", "T2"), schemes=("CTNormalization",) * 2)).misfits == []


def test_some_tensors_of_another_network(source):
    """Whatever the number of channels and classes of both; second names do not count."""
    model = source()
    weights = dict(model.weights)
    first, second = "encoder.stages.1.0.convs.0.conv.weight", "decoder.stages.0.convs.0.norm.bias"
    for name in (first, second, "decoder.seg_layers.0.weight", "encoder.stages.0.0.convs.0.conv.weight"):
        weights[name] = weights[name].repeat_interleave(2, min(1, weights[name].ndim - 1))
    weights["encoder.stages.1.0.convs.0.all_modules.0.weight"] = weights[first]
    del weights["encoder.stages.2.0.convs.0.norm.weight"]
    changed = source(weights=weights, trainer="GreatTrainer")
    assert SourceNetwork(changed).misfits == [first, "encoder.stages.2.0.convs.0.norm.weight", second]
    assert SourceNetwork(source(weights=weights, trainer="UniSegTrainer")).misfits == []
    wide = dict(model.weights)
    wide["encoder.stages.0.0.convs.0.conv.weight"] = torch.zeros(2, 1, 1, 3, 3)
    assert SourceNetwork(source(weights=wide)).misfits == ["encoder.stages.0.0.convs.0.conv.weight"]


def test_memory_is_counted_with_the_network_channels_and_labels(source, own):
    mine = own(memory=4.0)
    network = SourceNetwork(source())
    stock = mine.planner.static_estimate_VRAM_usage((16, 32, 32), 1, 2, *network._arguments)
    assert network.samples((16, 32, 32), mine) == pytest.approx(560_000_000 / 2 / stock * 2)
    flat = SourceNetwork(source(configuration="2d", spacing=(1.0, 1.0)))
    stock = mine.planner.static_estimate_VRAM_usage((32, 32), 1, 2, *flat._arguments)
    assert flat.samples((32, 32), mine) == pytest.approx(85_000_000 / 2 / stock * 12)


def test_the_whole_encoder_of_a_pre_training(pretrained):
    """The decoder is not expected in the weights."""
    network = SourceNetwork(pretrained())
    assert network.divisor == (4, 4, 4)
    assert {name.split(".")[0] for name in network.misfits} == {"decoder"}
    SourceNetwork(pretrained(network_of("plain")))
    SourceNetwork(pretrained(network_of(channels=2), pretrain_num_input_channels=2))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"features_per_stage": [4, 6, 9]},
            "found encoder.stages.2.blocks.0.conv1.conv.weight with (8, 6, 3, 3, 3) in the",
        ),
        (
            {"n_blocks_per_stage": [1, 2, 3]},
            "found encoder.stages.2.blocks.2.conv1.conv.weight with nothing in the file, ",
        ),
        (
            {"n_blocks_per_stage": [1, 2, 1]},
            "found encoder.stages.2.blocks.1.conv1.conv.weight with (8, 8, 3, 3, 3) in the",
        ),
        (
            {"n_stages": 4},
            "expected a network that dynamic_network_architectures.architectures.unet.ResidualEncoderUNet can",
        ),
    ],
)
def test_an_adaptation_plan_of_another_network(pretrained, change, text):
    network = network_of()
    described = adaptation_plan(network)["architecture_plans"]
    described["arch_kwargs"] |= change
    with pytest.raises(UserError) as error:
        SourceNetwork(pretrained(network, architecture_plans=described))
    assert text in str(error.value)
    assert "\n" not in str(error.value)


def test_tensors_that_are_missing_in_a_pre_training(tmp_path):
    network = network_of()
    name = "encoder.stages.1.blocks.0.conv2.norm.weight"
    weights = {key: value for key, value in network.state_dict().items() if key != name}
    file = write_nnssl(tmp_path / "a.pth", network, adaptation_plan(network), network_weights=weights)
    with pytest.raises(UserError, match=rf"found {name} with nothing in the file, \(6,\) in the network. Take"):
        SourceNetwork(read_source([file], tmp_path))
