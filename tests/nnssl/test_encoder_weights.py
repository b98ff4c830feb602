"""Encoder and stem are found by the names in the adaptation plan; everything else is left out, and said to be."""

import pytest
import torch
from nnssl_checkpoint import adaptation_plan, network_of
from small_unet import small_unet

from nnunet_ext.errors import UserError
from nnunet_ext.nnssl.encoder_weights import NOT_TAKEN, EncoderWeights
from nnunet_ext.weights.transfer import transfer


def renamed(state: dict, old: str, new: str) -> dict:
    return {name.replace(old, new, 1) if name.startswith(old) else name: value for name, value in state.items()}


@pytest.mark.parametrize("kind", ["resenc", "plain"])
def test_the_encoder_of_a_unet(kind):
    network = network_of(kind)
    state = network.state_dict()
    found = EncoderWeights.read(adaptation_plan(network), state, "a.pth")
    encoder = {name for name in state if name.removeprefix("decoder.").startswith("encoder.")}
    assert found.weights.keys() == found.names.keys() == encoder
    assert all(found.weights[name] is state[name] and found.names[name] == name for name in encoder)
    assert found.left_out.keys() == state.keys() - encoder
    assert "decoder.seg_layers.0.weight" in found.left_out


@pytest.mark.parametrize(
    ("encoder", "stem"), [("student.stages", "student.stem"), ("student", "student.stem"), ("student", None)]
)
def test_other_names(encoder, stem):
    """The stem may also be in what key_to_encoder names; a second encoder beside it is left out."""
    network = network_of()
    state = renamed(network.state_dict(), "encoder.", "student.") | {"encoder.stages.0.blocks.0.conv1.conv.bias": 7}
    plan = adaptation_plan(network, key_to_encoder=encoder, key_to_stem=stem)
    found = EncoderWeights.read(plan, state, "a.pth")
    own = {name for name in network.state_dict() if name.startswith("encoder.")}
    assert found.weights.keys() == own
    assert found.names["encoder.stem.convs.0.conv.weight"] == "student.stem.convs.0.conv.weight"
    assert found.left_out["encoder.stages.0.blocks.0.conv1.conv.bias"] == 7


def test_the_report_has_the_names_of_the_file():
    network = network_of()
    state = renamed(network.state_dict(), "encoder.", "student.")
    plan = adaptation_plan(network, key_to_encoder="student.stages", key_to_stem="student.stem")
    found = EncoderWeights.read(plan, state, "a.pth")
    target = small_unet("resenc", convolutions=[1, 2, 1])
    done = found.told(transfer(target, found.weights, source=None, target=None))
    fates = {(fate.tensor, fate.kind): fate for fate in done.fates}
    stem = fates["encoder.stem.convs.0.conv.weight", "mapped"]
    assert stem.source == "student.stem.convs.0.conv.weight"
    assert torch.equal(target.encoder.stem.convs[0].conv.weight, network.encoder.stem.convs[0].conv.weight)
    assert fates["student.stages.2.blocks.1.conv1.conv.weight", "unused"].reason == (
        "the network has only 1 blocks in this stage"
    )
    for kind in ("fresh", "unused"):
        assert fates["decoder.stages.0.convs.0.conv.weight", kind].reason == NOT_TAKEN
    assert done.count("loaded") == 0
    same = EncoderWeights.read(adaptation_plan(network), network.state_dict(), "a.pth")
    kinds = {
        fate.kind for fate in same.told(transfer(small_unet("resenc"), same.weights, source=None, target=None)).fates
    }
    assert kinds == {"loaded", "fresh", "unused"}


def test_what_the_file_has_no_decoder_for_is_not_in_it():
    found = EncoderWeights({}, {}, {"head": torch.zeros(1)})
    done = found.told(transfer(small_unet("resenc"), {}, source=None, target=None))
    reasons = {fate.tensor: fate.reason for fate in done.fates}
    assert (reasons["decoder.stages.0.convs.0.conv.weight"], reasons["head"]) == ("not in the file", NOT_TAKEN)


@pytest.mark.parametrize("plan", [None, [], {}, {"key_to_encoder": 3}, {"key_to_encoder": ""}])
def test_a_plan_without_the_encoders_name(plan):
    with pytest.raises(
        UserError, match=r"a.pth: expected nnssl_adaptation_plan with the name of the encoder under 'key_"
    ):
        EncoderWeights.read(plan, {}, "a.pth")


@pytest.mark.parametrize(
    ("state", "key"),
    [
        ({"eva.blocks.0.attn.q_proj.weight": 1, "down_projection.proj.weight": 2}, "eva"),
        ({"encoder.blocks.0.attn.qkv.weight": 1}, "encoder.blocks"),  # a number follows, but no U-Net's block
        ({"encoder.stages.0.blocks.0.conv1.conv.weight": 1}, "model.encoder.stages"),
        ({"encoder.stem.convs.0.conv.weight": 1}, "encoder"),
    ],
)
def test_no_unets_encoder(state, key):
    plan = {"key_to_encoder": key, "key_to_stem": "", "architecture_plans": {"arch_class_name": "PrimusM"}}
    with pytest.raises(UserError) as error:
        EncoderWeights.read(plan, state, "a.pth")
    assert f"under {key!r}, found none: the network, PrimusM, is no U-Net" in str(error.value)
    assert "\n" not in str(error.value)
    del plan["architecture_plans"]
    with pytest.raises(UserError, match="the network, whose class is not named, is no U-Net"):
        EncoderWeights.read(plan, state, "a.pth")


@pytest.mark.parametrize("stem", ["encoder.other", None])
def test_an_encoder_without_its_first_convolution(stem):
    """It would be continued behind a random one."""
    plan = adaptation_plan(network_of(), key_to_stem=stem)
    with pytest.raises(UserError, match=r"a.pth: expected the first convolution, encoder.stem.convs.0.conv.weight or "):
        EncoderWeights.read(plan, network_of().state_dict(), "a.pth")
