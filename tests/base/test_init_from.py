"""init_from: files of every kind, and the roles that they tell. The rules for tensors are in tests/weights."""

from __future__ import annotations

import pytest
import torch
from nnssl_checkpoint import adaptation_plan, network_of, write_nnssl
from small_unet import small_unet
from torch import nn

from nnunet_ext.base.init_from import init_from
from nnunet_ext.errors import UserError
from nnunet_ext.nnssl.encoder_weights import NOT_TAKEN
from nnunet_ext.weights.roles import Roles, roles_in


class Net(nn.Module):
    def __init__(self, classes: int, *, extra: bool) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 3, bias=False)
        self.head = nn.Linear(3, classes, bias=False)
        if extra:
            self.boundary = nn.Linear(3, 2, bias=False)


@pytest.fixture
def stock(tmp_path):
    network = Net(4, extra=False)
    weights = network.state_dict() | {"old.weight": torch.zeros(7)}
    torch.save({"network_weights": weights}, tmp_path / "checkpoint_final.pth")
    return network, tmp_path / "checkpoint_final.pth"


def test_every_tensors_fate_is_told(stock):
    source, file = stock
    network = Net(5, extra=True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert init_from(network, str(file)).lines() == [
        "loaded  encoder.weight (3, 2)",
        "fresh   head.weight (5, 3): widths 4 and 3 in the file, 5 and 3 here",
        "fresh   boundary.weight (2, 3): not in the file",
        "unused  head.weight (4, 3): widths 4 and 3 in the file, 5 and 3 here",
        "unused  old.weight (7,): not in the network",
    ]
    assert torch.equal(network.encoder.weight, source.encoder.weight)
    assert torch.equal(network.head.weight, before["head.weight"])
    assert torch.equal(network.boundary.weight, before["boundary.weight"])


def test_variables_in_the_path_are_expanded(stock, monkeypatch):
    _, file = stock
    monkeypatch.setenv("MODELS", str(file.parent))
    done = init_from(Net(4, extra=False), "$MODELS/checkpoint_final.pth")
    assert done.lines()[0] == "loaded  encoder.weight (3, 2)"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"expected an nnU-Net checkpoint, found no file '.*nothing.pth'"):
        init_from(Net(4, extra=False), str(tmp_path / "nothing.pth"))


def test_a_file_without_one_fitting_tensor_is_refused(stock):
    _, file = stock
    with pytest.raises(
        UserError, match=r"expected tensors that fit the network, found none \(no name is the network's"
    ):
        init_from(nn.Linear(9, 9), str(file))


def test_a_2d_checkpoint_is_refused_for_a_3d_network(tmp_path):
    file = tmp_path / "flat.pth"
    torch.save({"network_weights": small_unet(strides=[[1, 1], [2, 2], [2, 2]]).state_dict()}, file)
    with pytest.raises(UserError, match=r"flat.pth: .*found none \(the file's network is 2d, this one 3d\)"):
        init_from(small_unet(), str(file))


class Other(nn.Module):
    """As many elements in another shape, a longer vector, and one tensor that fits."""

    def __init__(self, weight: tuple[int, ...], bias: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(weight)), nn.Parameter(torch.zeros(bias))
        self.fits = nn.Parameter(torch.zeros(2))


def test_equal_numbers_of_elements_do_not_fit_and_neither_do_vectors_of_another_length(tmp_path):
    weights = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.arange(4.0), "fits": torch.ones(2)}
    torch.save({"network_weights": weights}, tmp_path / "checkpoint_final.pth")
    network = Other((3, 2), 5)
    assert init_from(network, str(tmp_path / "checkpoint_final.pth")).lines()[:3] == [
        "fresh   weight (3, 2): widths 2 and 3 in the file, 3 and 2 here",
        "fresh   bias (5,): width 4 in the file, 5 here",
        "loaded  fits (2,)",
    ]
    assert not network.weight.any()
    assert not network.bias.any()
    assert network.fits.tolist() == [1, 1]


WRAPPED = {
    "alone": lambda weights: weights,
    "state_dict": lambda weights: {"state_dict": weights, "epoch": 3},
    "without init_args": lambda weights: {"network_weights": weights},
    "of DDP": lambda weights: {"network_weights": {f"module.{name}": value for name, value in weights.items()}},
    "compiled": lambda weights: {f"_orig_mod.{name}": value for name, value in weights.items()},
    "both": lambda weights: {f"module._orig_mod.{name}": value for name, value in weights.items()},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_files_with_nothing_but_weights(kind, tmp_path):
    old, new = small_unet(), small_unet()
    torch.save(WRAPPED[kind](old.state_dict()), tmp_path / "weights.pth")
    done = init_from(new, str(tmp_path / "weights.pth"))
    assert {fate.kind for fate in done.fates} == {"loaded"}
    assert all(torch.equal(one, other) for one, other in zip(old.parameters(), new.parameters(), strict=True))


@pytest.mark.parametrize("content", [{}, [torch.zeros(1)], {"epoch": 3}, {"network_weights": [1]}, {"state_dict": {}}])
def test_a_file_without_weights_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    expected = r"other.pth: expected a checkpoint with 'network_weights', or tensors by name, found neither. Give"
    with pytest.raises(UserError, match=expected):
        init_from(small_unet(), str(tmp_path / "other.pth"))


def test_two_values_of_one_tensor_are_refused_by_file_and_name(tmp_path):
    weights = {name: tensor.clone() for name, tensor in small_unet().state_dict().items()}
    weights["encoder.stages.0.0.convs.0.all_modules.0.bias"] += 1
    torch.save(weights, tmp_path / "odd.pth")
    with pytest.raises(
        UserError, match=r"odd.pth: expected one tensor under the names 'enc.*conv.bias' and 'enc.*0.bias'"
    ):
        init_from(small_unet(), str(tmp_path / "odd.pth"))


LABELS = {"background": 0, "a": 1, "b": 2}
DATASET = {"channel_names": {"0": "CT"}, "labels": LABELS}
PLANS = {
    "configurations": {
        "3d_fullres": {},
        "3d_lowres": {"previous_stage": None},
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        "variant": {"inherits_from": "3d_cascade_fullres"},
        "no cascade": {"inherits_from": "variant", "previous_stage": None},
        "circle": {"inherits_from": "circle"},
    }
}


def test_heads_and_channels_are_matched_by_the_names_in_both_trainers_arguments(tmp_path):
    old, new = small_unet(classes=3), small_unet(classes=2, channels=2)
    arguments = {"plans": PLANS, "configuration": "3d_fullres", "dataset_json": DATASET}
    torch.save({"network_weights": old.state_dict(), "init_args": arguments}, tmp_path / "old.pth")
    mine = {"channel_names": {"0": "PET", "1": "ct"}, "labels": {"background": 0, "b": 1}}
    done = init_from(new, str(tmp_path / "old.pth"), init_args=arguments | {"dataset_json": mine})
    reasons = {fate.tensor: fate.reason for fate in done.fates}
    assert reasons["decoder.seg_layers.0.bias"] == "rows by name: background, b; not taken: a"
    assert reasons["encoder.stages.0.0.convs.0.conv.weight"] == "channels ct by name; PET: mean of the file"
    assert torch.equal(new.decoder.seg_layers[1].weight, old.decoder.seg_layers[1].weight[[0, 2]])
    assert torch.equal(
        new.encoder.stages[0][0].convs[0].conv.weight[:, 1:], old.encoder.stages[0][0].convs[0].conv.weight
    )


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ("by_name", "rows by name: background, b; new: Leber; not taken: a"),
        ({"Leber": "a"}, ""),  # the very head
        ("fresh", "the rule for segmentation heads is 'fresh'"),
    ],
)
def test_which_class_is_which(classes, told, tmp_path):
    old, new = small_unet(classes=3), small_unet(classes=3)
    before = [tensor.clone() for tensor in (new.decoder.seg_layers[-1].bias, old.decoder.seg_layers[-1].bias)]
    theirs = {"plans": PLANS, "configuration": "3d_fullres", "dataset_json": DATASET}
    ours = theirs | {"dataset_json": DATASET | {"labels": {"background": 0, "Leber": 1, "b": 2}}}
    torch.save({"network_weights": old.state_dict(), "init_args": theirs}, tmp_path / "old.pth")
    done = init_from(new, str(tmp_path / "old.pth"), init_args=ours, classes=classes)
    assert next(fate.reason for fate in done.fates if fate.tensor.endswith("seg_layers.1.bias")) == told
    fresh, source = before
    rows = {"fresh": fresh, "by_name": torch.stack((source[0], fresh[1], source[2]))}
    assert torch.equal(new.decoder.seg_layers[-1].bias, rows.get(str(classes), source))


def test_classes_of_a_collection_go_by_its_tasks(tmp_path):
    network = small_unet()
    torch.save({"network_weights": network.state_dict()}, tmp_path / "old.pth")
    with pytest.raises(UserError, match=r"knob 'init_from_classes': expected 'by_name' for a collection.* got 'fresh'"):
        init_from(network, str(tmp_path / "old.pth"), lambda content: dict(content["network_weights"]), None, "fresh")


@pytest.mark.parametrize(
    ("configuration", "further"),
    [
        ("3d_fullres", 0),
        ("3d_lowres", 0),
        ("3d_cascade_fullres", 2),
        ("variant", 2),
        ("no cascade", 0),
        ("circle", 0),
        (None, 0),
        ("unknown", 0),
    ],
)
def test_a_cascade_has_the_labels_as_channels(configuration, further):
    channels = roles_in({"plans": PLANS, "configuration": configuration, "dataset_json": DATASET}).channels
    assert channels == ("CT", "previous stage: a", "previous stage: b")[: 1 + further]


def test_roles_of_a_collection_are_unknown_and_those_of_a_view_are_its_own():
    arguments = {"configuration": "3d_fullres", "dataset_json": DATASET}
    assert roles_in(arguments | {"plans": PLANS | {"collection": {}}}) == Roles()
    view = roles_in(arguments | {"plans": PLANS | {"collection": {"task": "liver"}}})
    assert view == Roles(("CT",), ("background", "a", "b"))


@pytest.mark.parametrize("arguments", [None, [], {}, {"plans": PLANS}, {"plans": [], "dataset_json": DATASET}])
def test_other_arguments_tell_nothing(arguments):
    assert roles_in(arguments) == Roles()


def test_encoder_and_stem_of_a_network_that_nnssl_pre_trained(tmp_path):
    """One channel for three; a decoder of the same shapes is not taken."""
    old, new = network_of(), small_unet("resenc", convolutions=[1, 2, 2], channels=3)
    before = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    done = init_from(new, str(write_nnssl(tmp_path / "nnssl.pth", old, adaptation_plan(old))))
    stem = "encoder.stem.convs.0.conv.weight"
    kinds = {fate.tensor: fate.kind for fate in done.fates if fate.kind != "unused"}
    assert {kind for name, kind in kinds.items() if "encoder" in name and "stem" not in name} == {"loaded"}
    assert {kind for name, kind in kinds.items() if "encoder" not in name} == {"fresh"}
    assert (kinds[stem], new.state_dict()[stem].shape[1]) == ("mapped", 3)
    assert torch.equal(new.state_dict()[stem], old.state_dict()[stem].repeat(1, 3, 1, 1, 1) / 3)
    decoder = [name for name in kinds if "encoder" not in name]
    assert all(torch.equal(new.state_dict()[name], before[name]) for name in decoder)
    assert {fate.reason for fate in done.fates if fate.tensor in decoder} == {NOT_TAKEN}
    counted = {fate.tensor for fate in done.fates} | {fate.source for fate in done.fates}
    assert old.state_dict().keys() <= counted


def test_more_channels_in_a_pre_training_than_here(tmp_path):
    old, new = network_of(channels=2), small_unet("resenc", convolutions=[1, 2, 2])
    init_from(new, str(write_nnssl(tmp_path / "nnssl.pth", old, adaptation_plan(old))))
    stem = "encoder.stem.convs.0.conv.weight"
    assert torch.equal(new.state_dict()[stem], old.state_dict()[stem].sum(1, keepdim=True))


@pytest.mark.parametrize("kernel", [[1, 3, 3], [3, 3, 3]])
def test_other_kernels_and_stages_than_those_of_a_pre_training(tmp_path, kernel):
    old = network_of("plain", kernels=[kernel, [3, 3, 3], [3, 3, 3]])
    new = small_unet(strides=[[1, 1, 1], [2, 2, 2]], features=(4, 6), convolutions=[1, 2])
    done = init_from(new, str(write_nnssl(tmp_path / "nnssl.pth", old, adaptation_plan(old))))
    kinds = {fate.tensor: fate.kind for fate in done.fates}
    assert kinds["encoder.stages.0.0.convs.0.conv.weight"] == ("loaded" if kernel == [3, 3, 3] else "mapped")
    assert (kinds["encoder.stages.1.0.convs.1.conv.weight"], kinds["encoder.stages.2.0.convs.0.conv.weight"]) == (
        "loaded",
        "unused",
    )


def test_no_adaptation_plan_is_none(tmp_path):
    """A file with the key, but nothing under it, has weights of any network."""
    old = network_of()
    torch.save({"network_weights": old.state_dict(), "nnssl_adaptation_plan": None}, tmp_path / "a.pth")
    assert init_from(network_of(), str(tmp_path / "a.pth")).count("fresh") == 0


def test_a_transformer_of_nnssl_is_refused(tmp_path):
    plan = {"key_to_encoder": "eva", "architecture_plans": {"arch_class_name": "PrimusM"}}
    torch.save({"network_weights": {"eva.w": torch.zeros(1)}, "nnssl_adaptation_plan": plan}, tmp_path / "primus.pth")
    with pytest.raises(
        UserError, match=r"primus.pth: .* PrimusM, is no U-Net, and its weights fit none\. Take nnssl's "
    ):
        init_from(small_unet(), str(tmp_path / "primus.pth"))
