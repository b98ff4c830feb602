"""Weights of one network in another: every tensor's fate is told and true, and what should be one function is one."""

from __future__ import annotations

import doctest
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
from small_unet import small_unet
from torch import Tensor, nn
from torch.testing import assert_close

from nnunet_ext.collection.network.dodnet import DoDNet
from nnunet_ext.errors import UserError
from nnunet_ext.methods.ba_net.architecture import BANet
from nnunet_ext.methods.cotr.architecture import CoTr
from nnunet_ext.methods.lefed.architecture import LeFeD
from nnunet_ext.methods.mc_net_plus.architecture import MCNetPlus
from nnunet_ext.methods.multi_head.architecture import MultiHead
from nnunet_ext.methods.transdodnet.architecture import TransDoDNet
from nnunet_ext.methods.uniseg.architecture import UniSeg
from nnunet_ext.weights.roles import Roles
from nnunet_ext.weights.transfer import Fate, Transfer, transfer

PATCH = (8, 16, 16)
FLAT = [[1, 1, 1], [1, 2, 2], [1, 2, 2]]  # strides that leave the first axis alone
DEEPER = {"strides": [[1] * 3] + [[2] * 3] * 3, "features": (4, 6, 8, 8)}
SHALLOWER = {"strides": [[1] * 3, [2] * 3], "features": (4, 6)}
TASKS = {"heads": (2, 3), "channels": (1, 3)}
BACK = "background"


def trained(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return a network as after some training: no two values are equal."""
    torch.manual_seed(seed)
    network = make()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network.eval()


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def moved(
    new: nn.Module, weights: Mapping[str, Any], source: Roles | None = None, target: Roles | None = None, **options: Any
) -> Transfer:
    """Transfer, and hold what is said of every tensor of both sides against what happened to it."""
    before = state(new)
    done = transfer(new, weights, source=source, target=target, **options)
    after = state(new)
    own = [fate for fate in done.fates if fate.kind != "unused"]
    unused = [fate.tensor for fate in done.fates if fate.kind == "unused"]
    assert [fate.tensor for fate in own] == list(before)
    sources = {fate.source for fate in own if fate.kind in ("loaded", "mapped")}
    assert len(unused) == len(set(unused))
    assert sources.isdisjoint(unused)
    assert sources | set(unused) == set(weights)
    for fate in own:
        assert fate.shape == tuple(before[fate.tensor].shape)
        assert fate.source_shape == (None if fate.source is None else tuple(weights[fate.source].shape))
        if fate.kind == "loaded":
            assert torch.equal(after[fate.tensor], weights[fate.source]), fate
        elif fate.kind == "mapped":
            assert not torch.equal(after[fate.tensor], before[fate.tensor]), fate
            assert fate.reason or fate.source != fate.tensor, fate
        else:
            assert torch.equal(after[fate.tensor], before[fate.tensor]), fate
            assert fate.reason, fate
    assert all(fate.reason for fate in done.fates if fate.kind == "unused")
    for name, tensor in after.items():  # aliases
        again = name.replace("encoder.", "decoder.encoder.", 1) if name.startswith("encoder.") else name
        assert torch.equal(tensor, after.get(again, tensor)), name
    return done


def kinds(done: Transfer, start: str = "", end: str = "") -> set[str]:
    """Return the fates of the network's tensors of some names."""
    own = [fate for fate in done.fates if fate.kind != "unused" and fate.tensor.startswith(start)]
    return {fate.kind for fate in own if fate.tensor.endswith(end)}


def fate_of(done: Transfer, name: str, *, unused: bool = False) -> Fate:
    (found,) = (fate for fate in done.fates if fate.tensor == name and (fate.kind == "unused") == unused)
    return found


def image(channels: int = 1) -> Tensor:
    torch.manual_seed(7)
    return torch.randn(1, channels, *PATCH)


def backbone(network: Any, x: Tensor, *, prompt: bool = False) -> Any:
    """Return what encoder and decoder of a network make of an image, with a prompt of 0."""
    skips = network.encoder(x)
    if prompt:
        skips[-1] = torch.cat((skips[-1], torch.zeros_like(skips[-1][:, :1])), 1)
    return network.decoder(skips)


def features(network: Any, x: Tensor) -> Tensor:
    """Return the decoder's last features, before the heads."""
    found = []
    handle = network.decoder.stages[-1].register_forward_hook(lambda _, __, output: found.append(output))
    backbone(network, x)
    handle.remove()
    return found[0]


def same_logits(old: Any, new: Any) -> None:
    assert_close(backbone(new, image()), backbone(old, image()))


def same_features(old: Any, new: Any) -> None:
    assert_close(features(new, image()), features(old, image()))


def same_encoder(old: Any, new: Any) -> None:
    assert_close(new.encoder(image()), old.encoder(image()))


def kept_classes(old: Any, new: Any) -> None:
    for before, after in zip(old(image()), new(image()), strict=True):
        assert_close(after[:, [0, 2]], before[:, [0, 1]])


def channels_by_name(old: Any, new: Any) -> None:
    x = image(3)
    x[:, 1] = 0  # the channel without partner
    assert_close(new(x), old(x[:, [2, 0]]), rtol=1e-4, atol=1e-5)


def inflated(old: Any, new: Any) -> None:
    x = image()[:, :, :1].expand(-1, -1, 8, -1, -1)  # constant along the first axis
    for before, after in zip(old(x), new(x), strict=True):
        assert_close(after[:, :, :1], before[:, :, :1])
        assert_close(after, after[:, :, :1].expand_as(after))


def cut(old: Any, new: Any) -> None:
    """The new bottleneck is the old network's second level; from there on it decodes as the old one does."""
    skips = old.encoder(image())
    finest = torch.cat((old.decoder.transpconvs[1](skips[1]), skips[0]), 1)
    assert_close(new(image())[0], old.decoder.seg_layers[1](old.decoder.stages[1](finest)))


def grown(old: Any, new: Any) -> None:
    """The encoder's first stages, and each level of the decoder that both have, given the same features."""
    skips = new.encoder(image())
    assert_close(skips[:3], old.encoder(image()))
    for level in (1, 0):
        torch.manual_seed(level)
        below = torch.randn_like(skips[level + 1])
        results = []
        for decoder in (old.decoder, new.decoder):
            number = len(decoder.stages) - 1 - level
            joined = torch.cat((decoder.transpconvs[number](below), skips[level]), 1)
            results.append(decoder.seg_layers[number](decoder.stages[number](joined)))
        assert_close(results[1], results[0])


def predictions(old: Any, new: Any) -> None:
    def full(network: Any) -> Tensor:
        found = network(image())
        return found[0] if isinstance(found, list) else found

    assert_close(full(new), full(old))


def uniseg(**options: Any) -> UniSeg:
    return UniSeg(small_unet(classes=3, **options), patch_size=PATCH, **TASKS)


@dataclass(frozen=True)
class Pair:
    """Two networks; what is the same function in both; what becomes of some tensors, by the start of their names."""

    old: Callable[[], nn.Module]
    new: Callable[[], nn.Module]
    check: Callable[[Any, Any], None]
    fates: Mapping[str, set[str]]
    roles: tuple[Roles | None, Roles | None] = (None, None)
    unused: Mapping[str, str] = field(default_factory=dict)


MRI = Roles(channels=("T1", "T2"))
STEM = "encoder.stages.0.0.convs.0.conv.convs"
PAIRS = {
    "plain, the same": Pair(small_unet, small_unet, predictions, {"": {"loaded"}}),
    "plain, other classes": Pair(
        lambda: small_unet(classes=2),
        lambda: small_unet(classes=4),
        kept_classes,
        {"encoder": {"loaded"}, "decoder.stages": {"loaded"}, "decoder.seg_layers": {"mapped"}},
        (Roles(outputs=(BACK, "a")), Roles(outputs=(BACK, "b", "A", "c"))),
    ),
    "plain, other channels": Pair(
        lambda: small_unet(channels=2),
        lambda: small_unet(channels=3),
        channels_by_name,
        {
            "encoder.stages.0.0.convs.0.conv.weight": {"mapped"},
            "encoder.stages.1": {"loaded"},
            "decoder.st": {"loaded"},
        },
        (MRI, Roles(channels=("t2", "PET", "t1"))),
    ),
    "plain, kernels and strides from 1 to 3 and 2": Pair(
        lambda: small_unet(strides=FLAT, kernels=[[1, 3, 3]] * 3),
        small_unet,
        inflated,
        {
            "decoder.transpconvs.0.weight": {"mapped"},
            "decoder.transpconvs.0.bias": {"loaded"},
            "encoder": {"mapped", "loaded"},
        },
    ),
    "plain, fewer stages": Pair(
        small_unet,
        lambda: small_unet(**SHALLOWER),
        cut,
        {"encoder": {"loaded"}, "decoder.stages": {"mapped"}, "decoder.seg": {"mapped"}, "decoder.tr": {"mapped"}},
        unused={"encoder.stages.2.": "the network has 2 stages", "decoder.stages.0.": "the network has 2 stages"},
    ),
    "plain, more stages": Pair(
        small_unet,
        lambda: small_unet(**DEEPER),
        grown,
        {
            "encoder.stages.2": {"loaded"},
            "encoder.stages.3": {"fresh"},
            "decoder.stages.0": {"fresh"},
            "decoder.transpconvs.0": {"fresh"},
            "decoder.seg_layers.0": {"fresh"},
            "decoder.stages.1": {"mapped"},
            "decoder.transpconvs.1": {"mapped"},
            "decoder.stages.2": {"mapped"},
        },
    ),
    "plain, fewer convolutions": Pair(
        lambda: small_unet(convolutions=(2, 2, 2), decoder_convolutions=(2, 2)),
        lambda: small_unet(convolutions=(2, 2, 1), decoder_convolutions=(1, 2)),
        lambda old, new: assert_close(new.encoder(image())[:2], old.encoder(image())[:2]),
        {"": {"loaded"}},
        unused={"encoder.stages.2.0.convs.1": "the network has only 1 convs in this stage"},
    ),
    "residual, other classes": Pair(
        lambda: small_unet("resenc", classes=2),
        lambda: small_unet("resenc", classes=4),
        kept_classes,
        {"encoder": {"loaded"}, "decoder.seg_layers": {"mapped"}},
        (Roles(outputs=(BACK, "a")), Roles(outputs=(BACK, "b", "A", "c"))),
    ),
    "residual, other channels": Pair(
        lambda: small_unet("resenc", channels=2),
        lambda: small_unet("resenc", channels=3),
        channels_by_name,
        {"encoder.stem.convs.0.conv.weight": {"mapped"}, "encoder.stages": {"loaded"}},
        (MRI, Roles(channels=("t2", "PET", "t1"))),
    ),
    "plain to residual": Pair(
        small_unet,
        lambda: small_unet("resenc"),
        lambda old, new: assert_close(
            new.decoder.stages[1](torch.ones(1, 8, *PATCH)), old.decoder.stages[1](torch.ones(1, 8, *PATCH))
        ),
        {"encoder": {"fresh"}, "decoder.stages": {"loaded"}, "decoder.seg_layers": {"loaded"}},
        unused={"encoder.": "the file has a plain encoder, the network a residual one"},
    ),
    "plain to BA-Net": Pair(
        small_unet,
        lambda: BANet(small_unet()),
        same_logits,
        {
            "encoder": {"loaded"},
            "decoder": {"loaded"},
            "boundary_decoder.stages": {"fresh"},
            "boundary_decoder.encoder": {"loaded"},
        },
    ),
    "BA-Net to plain": Pair(
        lambda: BANet(small_unet()),
        small_unet,
        same_logits,
        {"": {"loaded"}},
        unused={"boundary_decoder.st": "not in the network"},
    ),
    "plain to UniSeg": Pair(
        small_unet,
        uniseg,
        lambda old, new: assert_close(backbone(new, image(), prompt=True), old(image())),
        {
            f"{STEM}.1.weight": {"mapped"},
            f"{STEM}.3.weight": {"mapped"},
            "decoder.transpconvs.0.weight": {"mapped"},
            "decoder.transpconvs.0.bias": {"loaded"},
            "prompt": {"fresh"},
            "fuse": {"fresh"},
            "decoder.seg_layers": {"loaded"},
        },
    ),
    "UniSeg to plain": Pair(
        uniseg,
        small_unet,
        lambda old, new: assert_close(new(image()), backbone(old, image(), prompt=True)),
        {
            "encoder.stages.0.0.convs.0.conv": {"mapped"},
            "decoder.transpconvs.0.weight": {"mapped"},
            "encoder.stages.1": {"loaded"},
        },
        unused={
            f"{STEM}.3.weight": "the network has no first convolution for so many channels",
            "prompt": "not in the network",
        },
    ),
    "UniSeg, more stages": Pair(
        uniseg,
        lambda: uniseg(**DEEPER),
        lambda old, new: assert_close(new.encoder(image())[:3], old.encoder(image())),
        {
            "decoder.transpconvs.0": {"fresh"},
            "decoder.transpconvs.1.weight": {"mapped"},
            "decoder.stages.2": {"mapped"},
        },
    ),
    "plain to DoDNet": Pair(
        small_unet,
        lambda: DoDNet(small_unet(classes=8), **TASKS),
        same_features,
        {STEM: {"mapped"}, "decoder.stages": {"loaded"}, "pre_heads": {"fresh"}, "controller": {"fresh"}},
        unused={"decoder.seg_layers": "not in the network"},
    ),
    "DoDNet to plain": Pair(
        lambda: DoDNet(small_unet(classes=8), **TASKS),
        small_unet,
        same_features,
        {"encoder.stages.1": {"loaded"}, "decoder.stages": {"loaded"}, "decoder.seg_layers": {"fresh"}},
    ),
    "TransDoDNet to DoDNet": Pair(
        lambda: TransDoDNet(small_unet(), hidden_channels=16, **TASKS),
        lambda: DoDNet(small_unet(classes=8), **TASKS),
        same_features,
        {"encoder": {"loaded"}, "decoder": {"loaded"}, "pre_heads": {"fresh"}},
    ),
    "MultiHead to UniSeg": Pair(
        lambda: MultiHead(small_unet(classes=5), **TASKS),
        uniseg,
        same_encoder,
        {"encoder": {"loaded"}, "decoder.stages": {"loaded"}, "decoder.seg_layers": {"fresh"}},
    ),
    "plain to CoTr": Pair(
        small_unet,
        lambda: CoTr(small_unet(), width=24, layers=1),
        same_logits,
        {"encoder": {"loaded"}, "decoder": {"loaded"}, "into": {"fresh"}, "transformer": {"fresh"}},
    ),
    "CoTr to plain": Pair(lambda: CoTr(small_unet(), width=24, layers=1), small_unet, same_logits, {"": {"loaded"}}),
    "plain to LeFeD": Pair(
        small_unet,
        lambda: LeFeD(small_unet()),
        predictions,
        {"encoder": {"loaded"}, "decoder": {"loaded"}, "second_decoder.st": {"fresh"}, "side": {"fresh"}},
    ),
    "LeFeD to plain": Pair(lambda: LeFeD(small_unet()), small_unet, predictions, {"": {"loaded"}}),
    "LeFeD, fewer stages": Pair(
        lambda: LeFeD(small_unet()),
        lambda: LeFeD(small_unet(**SHALLOWER)),
        cut,
        {"second_decoder.stages": {"mapped"}, "second_decoder.seg_layers.0": {"loaded"}, "side.seg_layers": {"loaded"}},
        unused={"side.seg_layers.2": "not in the network"},
    ),
    "MC-Net+ to LeFeD": Pair(
        lambda: MCNetPlus(small_unet()),
        lambda: LeFeD(small_unet()),
        predictions,
        {"encoder": {"loaded"}, "decoder": {"loaded"}},
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_every_tensor_of_both_sides_has_a_true_fate(name):
    pair = PAIRS[name]
    old, new = trained(pair.old, 0), trained(pair.new, 1)
    done = moved(new, old.state_dict(), *pair.roles)
    for start, expected in pair.fates.items():
        assert kinds(done, start) == expected, start
    for start, reason in pair.unused.items():
        found = [fate for fate in done.fates if fate.kind == "unused" and fate.tensor.startswith(start)]
        assert found, start
        assert {fate.reason for fate in found} == {reason}, start
    with torch.no_grad():
        pair.check(old, new)
    assert json.loads(json.dumps(done.as_json()))["counts"] == {
        kind: done.count(kind) for kind in ("loaded", "mapped", "fresh", "unused")
    }


@pytest.mark.parametrize("other", ["conv.", "all_modules.0.", "norm.", "all_modules.1."])
def test_a_file_may_have_any_of_a_tensors_names(other):
    old, new = trained(small_unet, 0), trained(small_unet, 1)
    pattern = {"conv.": "all_modules.0.", "norm.": "all_modules.1."}
    left_out = pattern.get(other) or next(key for key, value in pattern.items() if value == other)
    weights = {
        name: tensor for name, tensor in state(old).items() if f".{left_out}" not in name and "r.enc" not in name
    }
    done = moved(new, weights)
    assert kinds(done) == {"loaded"}
    assert all(fate.source == fate.tensor for fate in done.fates if fate.tensor in weights)
    predictions(old, new)


def test_the_order_of_names_in_the_file_does_not_matter():
    old, new = trained(small_unet, 0), trained(small_unet, 1)
    done = moved(new, dict(reversed(list(old.state_dict().items()))))
    assert kinds(done) == {"loaded"}
    assert all(fate.source == fate.tensor for fate in done.fates)


def test_a_tensor_that_the_network_has_under_fewer_names_is_not_called_missing():
    """LeFeD's own decoder does not list the encoder again."""
    new = trained(lambda: LeFeD(small_unet(), own_decoder=True), 1)
    done = moved(new, trained(small_unet, 0).state_dict())
    assert kinds(done, "encoder") == {"loaded"}
    found = [fate for fate in done.fates if fate.tensor.startswith("decoder.encoder.")]
    assert found
    assert {fate.kind for fate in found} == {"unused"}
    name = "encoder.stages.0.0.convs.0.conv.bias"
    assert fate_of(done, f"decoder.{name}", unused=True).reason == f"the same tensor as {name}"


def test_two_values_of_one_tensor_are_refused_by_name():
    weights = state(trained(small_unet, 0))
    weights["decoder.encoder.stages.1.0.convs.0.conv.weight"] += 1
    expected = r"'encoder.stages.1.0.convs.0.conv.weight' and 'decoder.encoder.stages.1.0.convs.0.conv.weight'"
    new = trained(small_unet, 1)
    before = state(new)
    with pytest.raises(ValueError, match=expected):
        transfer(new, weights, source=None, target=None)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(new).items())


BATCH, OTHER = "batch norm", "another norm than batch norm"
FRESH: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({"features": (8, 6, 8)}, {}, "0.0.convs.0.norm.bias", "width 8 in the file, 4 here"),
    ({"features": (8, 6, 8)}, {}, "1.0.convs.0.conv.weight", "widths 6 and 8 in the file, 6 and 4 here"),
    ({"norm_op": nn.BatchNorm3d}, {}, "1.0.convs.0.norm.bias", f"the file has {BATCH}, the network {OTHER}"),
    ({}, {"norm_op": nn.BatchNorm3d}, "1.0.convs.0.norm.bias", f"the file has {OTHER}, the network {BATCH}"),
    ({"norm_op": None}, {}, "1.0.convs.0.norm.bias", "the file has no norm here"),
    ({"conv_bias": False}, {}, "1.0.convs.0.conv.bias", "the file has no bias here"),
    (
        {"kernels": [[3] * 3] * 2 + [[2] * 3]},
        {},
        "2.0.convs.0.conv.weight",
        "kernel 2x2x2 in the file, 3x3x3 here, for which there is no rule",
    ),
    ({}, {"convolutions": (1, 1, 2)}, "2.0.convs.1.conv.bias", "the file has only 1 convs in this stage"),
]


@pytest.mark.parametrize(("old", "new", "name", "reason"), FRESH)
def test_what_does_not_fit_stays_fresh_and_says_why(old, new, name, reason):
    done = moved(trained(lambda: small_unet(**new), 1), trained(lambda: small_unet(**old), 0).state_dict())
    found = fate_of(done, f"encoder.stages.{name}")
    assert (found.kind, found.reason) == ("fresh", reason)
    assert "loaded" in kinds(done)
    if found.source is not None:
        assert fate_of(done, found.tensor, unused=True).reason == reason


def test_of_other_classes_without_names_the_heads_stay_fresh():
    done = moved(trained(small_unet, 1), trained(lambda: small_unet(classes=2), 0).state_dict())
    assert kinds(done, "decoder.seg_layers") == {"fresh"}
    told = "2 outputs in the file, 3 here, and the labels of the file are unknown"
    assert fate_of(done, "decoder.seg_layers.0.bias").reason == told


def test_nothing_of_a_2d_network_goes_into_a_3d_one():
    flat = trained(lambda: small_unet(strides=[[1, 1], [2, 2], [2, 2]]), 0)
    done = moved(trained(small_unet, 1), flat.state_dict())
    assert kinds(done) == {"fresh"}
    assert {fate.reason for fate in done.fates} == {"the file's network is 2d, this one 3d"}
    assert not done.took_anything


@pytest.mark.parametrize(
    ("rule", "kind"), [("match", "loaded"), ("copy", "loaded"), ("mean", "mapped"), ("fresh", "fresh")]
)
@pytest.mark.parametrize("encoder", ["plain", "resenc"])
def test_the_rule_for_channels_can_be_chosen(encoder, rule, kind):
    old, new = (trained(lambda: small_unet(encoder, channels=2), seed) for seed in (0, 1))
    done = moved(new, old.state_dict(), MRI, MRI, channel_rule=rule)
    first = "encoder.stem.convs.0.conv." if encoder == "resenc" else "encoder.stages.0.0.convs.0.conv."
    assert fate_of(done, f"{first}weight").kind == kind
    assert fate_of(done, f"{first}bias").kind == "loaded"
    assert kinds(done, "encoder.stages.1") == {"loaded"}


class WithoutStem(nn.Module):
    """A residual encoder whose first block sees the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        sizes = (channels, 2, (4, 6), nn.Conv3d, [3, 3], [1, 2], (1, 1), True)
        self.encoder = ResidualEncoder(*sizes, nn.InstanceNorm3d, {}, nonlin=nn.ReLU, disable_default_stem=True)


def test_without_a_stem_convolution_and_shortcut_of_the_first_stage_see_the_image():
    old, new = trained(lambda: WithoutStem(1), 0), trained(lambda: WithoutStem(2), 1)
    done = moved(new, old.state_dict())
    for part in ("conv1.conv", "skip.0.conv"):
        assert fate_of(done, f"encoder.stages.0.blocks.0.{part}.weight").kind == "mapped"
    assert_close(new.encoder(image().expand(-1, 2, -1, -1, -1)), old.encoder(image()), rtol=1e-4, atol=1e-4)


def test_an_unknown_rule_is_refused():
    with pytest.raises(
        UserError, match=r"channel_rule: expected a rule for input channels, got 'means'\. Did you mean 'mean'"
    ):
        transfer(small_unet(), {}, source=None, target=None, channel_rule="means")


def test_what_the_network_adopted_comes_first_and_what_it_left_out_is_not_offered():
    old, new = trained(small_unet, 0), trained(small_unet, 1)
    weights = state(old)
    name, without = "decoder.seg_layers.1.bias", "decoder.transpconvs.0.bias"
    adopted = {key: value for key, value in weights.items() if key != without} | {name: torch.arange(3.0)}
    done = moved(new, weights, adopted=adopted)
    assert fate_of(done, name).line() == f"mapped  {name} (3,): moved to where the tasks are now"
    assert new.state_dict()[name].tolist() == [0, 1, 2]
    assert (
        fate_of(done, without).line()
        == f"fresh   {without} (6,): the file has (6,), of a part that does not fit as a whole"
    )
    assert fate_of(done, without, unused=True).reason == "the file has (6,), of a part that does not fit as a whole"
    assert kinds(done, "encoder") == {"loaded"}


def test_what_was_adopted_for_another_level_is_not_taken():
    """``adopt`` goes by names; where the number of stages differs, these mean other levels."""
    old = trained(lambda: small_unet(features=(6, 6, 6)), 0)
    new = trained(lambda: small_unet(strides=DEEPER["strides"], features=(6, 6, 6, 6)), 1)
    weights = state(old)
    name = "decoder.seg_layers.0.bias"
    done = moved(new, weights, adopted=weights | {name: torch.zeros(3)})
    assert fate_of(done, name).kind == "fresh"
    assert fate_of(done, "decoder.seg_layers.1.bias").source == name
    assert torch.equal(new.state_dict()["decoder.seg_layers.1.bias"], weights[name])


class Stateful(nn.Module):
    """Has a state that is no tensor."""

    def __init__(self, rounds: Any) -> None:
        super().__init__()
        self.weight, self.rounds = nn.Parameter(torch.zeros(2)), rounds

    def get_extra_state(self) -> Any:
        return self.rounds

    def set_extra_state(self, state: Any) -> None:
        self.rounds = state


def test_other_state_is_loaded_if_it_is_of_the_same_kind_and_named_if_not():
    new = Stateful(1)
    done = transfer(new, Stateful(5).state_dict(), source=None, target=None)
    assert new.rounds == 5
    assert done.lines() == ["loaded  weight (2,)", "loaded  _extra_state int"]
    new = Stateful("x")
    done = transfer(new, Stateful(5).state_dict(), source=None, target=None)
    assert new.rounds == "x"
    assert done.lines()[1:] == [
        "fresh   _extra_state str: int in the file, str here",
        "unused  _extra_state int: int in the file, str here",
    ]


def test_lines_and_json():
    done = moved(trained(lambda: small_unet(**SHALLOWER), 1), trained(small_unet, 0).state_dict())
    lines = done.lines()
    assert (
        lines[0]
        == "loaded  encoder.stages.0.0.convs.0.conv.weight (4, 1, 3, 3, 3): channels by position: names unknown"
    )
    name = "decoder.transpconvs.0.weight"
    assert f"mapped  {name} (6, 4, 2, 2, 2): decoder.transpconvs.1.weight in the file" in lines
    assert f"unused  {name} (8, 6, 2, 2, 2): the network has 2 stages" in lines
    assert done.summary().startswith(f"{done.count('loaded')} of ")
    assert done.summary().endswith(f" tensors loaded, {done.count('mapped')} mapped, {done.count('unused')} unused")
    (found,) = (entry for entry in done.as_json()["tensors"] if entry["tensor"] == name and entry["kind"] == "mapped")
    assert found == {
        "tensor": name,
        "source": "decoder.transpconvs.1.weight",
        "kind": "mapped",
        "reason": "",
        "shape": (6, 4, 2, 2, 2),
        "source_shape": (6, 4, 2, 2, 2),
    }


@pytest.mark.parametrize("module", ["absence", "channels", "heads", "kernels", "roles", "transfer"])
def test_the_examples_in_docstrings_run(module):
    failed, run = doctest.testmod(importlib.import_module(f"nnunet_ext.weights.{module}"))
    assert failed == 0
    assert run > 0


def test_an_unknown_rule_for_heads_is_refused():
    with pytest.raises(
        UserError, match=r"head_rule: expected a rule for segmentation heads, got 'frsh'\. Did you mean"
    ):
        transfer(small_unet(), {}, source=None, target=None, head_rule="frsh")
