"""An adaptation plan becomes plans of nnU-Net; what it lacks, or claims falsely, is one line."""

import pytest
import torch
from nnssl_checkpoint import adaptation_plan, kwargs_of, network_of

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.source.plain_json import plain_json
from nnunet_ext.nnssl.adaptation_plan import AdaptationPlan
from nnunet_ext.nnssl.encoder_weights import EncoderWeights


def read(network=None, **changes) -> AdaptationPlan:
    return AdaptationPlan.read(plain_json(adaptation_plan(network or network_of(), **changes)), "a.pth")


def plans_of(network, state=None, **changes) -> dict:
    content = plain_json(adaptation_plan(network, **changes))
    encoder = EncoderWeights.read(content, network.state_dict() if state is None else state, "a.pth")
    return AdaptationPlan.read(content, "a.pth").plans(encoder, "a.pth")


def test_what_a_plan_says():
    found = read()
    assert (found.network, found.channels, found.patch_size) == ("ResidualEncoderUNet", 1, (160, 160, 160))
    assert (found.style, found.spacing, found.transpose) == ("onemmiso", (1.0, 1.0, 1.0), (0, 1, 2))
    assert (found.schemes, found.masks) == (("ZScoreNormalization",), (False,))
    assert (found.configuration, found.dataset) == ("onemmiso", "Dataset745_OpenMind")
    assert found.kwargs == kwargs_of(network_of())


def test_plans():
    network = network_of()
    plans = plans_of(network, transpose_forward=[2, 0, 1])
    (planned,) = plans["configurations"].values()
    assert (plans["transpose_forward"], plans["transpose_backward"]) == ([2, 0, 1], [1, 2, 0])
    assert planned["architecture"] == {
        "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
        "arch_kwargs": kwargs_of(network),
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    assert (planned["patch_size"], planned["spacing"], planned["batch_size"]) == ([160] * 3, [1.0] * 3, 2)
    assert (planned["normalization_schemes"], planned["use_mask_for_norm"]) == (["ZScoreNormalization"], [False])
    assert plans_of(network, preset="ResEncL")["configurations"]["onemmiso"]["architecture"] == planned["architecture"]


def test_arguments_that_the_data_decide_are_not_kept():
    plan = adaptation_plan(network_of())
    kwargs = plan["architecture_plans"]["arch_kwargs"]
    kwargs |= {"input_channels": 1, "num_classes": 1, "deep_supervision": False}
    assert AdaptationPlan.read(plain_json(plan), "a.pth").kwargs == kwargs_of(network_of())


@pytest.mark.parametrize(
    ("changes", "spacing"),
    [
        ({"spacing_style": "onemmiso", "spacing": None}, (1.0, 1.0, 1.0)),
        ({"spacing_style": "onemmiso", "spacing": [2.0, 1, 1]}, (2.0, 1.0, 1.0)),
        ({"spacing_style": None}, (1.0, 1.0, 1.0)),  # the configuration has the style's name
        ({"spacing_style": "median", "spacing": None}, (1.2, 0.9, 0.9)),
        ({"spacing_style": "median", "spacing": [1.5, 0.8, 0.7]}, (1.5, 0.8, 0.7)),
        ({"spacing_style": "noresample", "spacing": [1.5, 0.8, 0.7]}, None),
        ({"spacing_style": "median", "spacing": [0.0, 1.0, 1.0], "original_median_spacing_after_transp": "?"}, None),
    ],
)
def test_spacing(changes, spacing):
    found = read(**changes)
    assert found.spacing == spacing
    assert found.style == (changes["spacing_style"] or "onemmiso")


def test_several_channels():
    network = network_of(channels=2)
    assert read(network, pretrain_num_input_channels=2).schemes == ("ZScoreNormalization",) * 2
    two = ["ZScoreNormalization", "NoNormalization"]
    found = read(network, pretrain_num_input_channels=2, normalization_schemes=two, use_mask_for_norm=[True, False])
    assert (found.schemes, found.masks) == (tuple(two), (True, False))
    assert read(network, normalization_schemes=None, use_mask_for_norm=None).masks == (False,)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"architecture_plans": None}, "'architecture_plans' of nnssl_adaptation_plan, found none"),
        ({"architecture_plans": {}}, "expected text for 'arch_class_name' of architecture_plans, found none"),
        (
            {"architecture_plans": {"arch_class_name": "PrimusM"}},
            "found PrimusM. Take nnssl's weights of a ResEnc-L (ResEncL)",
        ),
        ({"architecture_plans": {"arch_class_name": "os.system"}}, "found system. Take nnssl's weights"),
        (
            {"architecture_plans": {"arch_class_name": "ResEncL", "arch_kwargs": [1]}},
            "'arch_kwargs' of architecture_plans, found [1]",
        ),
        (
            {"architecture_plans": {"arch_class_name": "ResEncL", "arch_kwargs_requiring_import": [1]}},
            "'arch_kwargs_requiring_import' of architecture_plans, found [1]",
        ),
        ({"pretrain_plan": None}, "'pretrain_plan' of nnssl_adaptation_plan, found none"),
        ({"configurations": None}, "one configuration for 'configurations' of pretrain_plan, found none"),
        ({"configurations": {}}, "'configurations' of pretrain_plan, found {}"),
        ({"configurations": {"a": {}, "b": {}}}, "one configuration for 'configurations'"),
        ({"configurations": {"a": 1}}, "one configuration for 'configurations'"),
        ({"pretrain_num_input_channels": 0}, "a whole number for 'pretrain_num_input_channels'"),
        ({"pretrain_num_input_channels": True}, "a whole number for 'pretrain_num_input_channels'"),
        ({"recommended_downstream_patchsize": None}, "three numbers of voxels for 'recommended_downstream_patchsize'"),
        (
            {"recommended_downstream_patchsize": [160, 160]},
            "'recommended_downstream_patchsize' of nnssl_adaptation_plan",
        ),
        ({"recommended_downstream_patchsize": [160, 160, 0]}, "found [160, 160, 0]"),
        ({"transpose_forward": [0, 1, 1]}, "expected 0, 1 and 2 for 'transpose_forward'"),
        ({"normalization_schemes": ["CTNormalization"]}, "expected one or 1 of ZScoreNormalization, "),
        ({"normalization_schemes": ["ZScoreNormalization"] * 3}, "'normalization_schemes' of its configuration"),
        ({"use_mask_for_norm": ["no"]}, "'use_mask_for_norm' of its configuration, found ['no']"),
    ],
)
def test_incomplete_and_other_plans(changes, text):
    with pytest.raises(UserError) as error:
        read(**changes)
    assert text in str(error.value)
    assert str(error.value).startswith("a.pth: expected ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, [], {}])
def test_no_plan(content):
    with pytest.raises(
        UserError, match=r"a.pth: expected entries by name for 'architecture_plans' of nnssl_adaptation_p"
    ):
        AdaptationPlan.read(content, "a.pth")


def test_channels_that_the_weights_do_not_have():
    network = network_of(channels=2)
    with pytest.raises(UserError, match=r"for 1 channels and 3 axes, as nnssl_.* of shape \(4, 2, 3, 3, 3\)"):
        plans_of(network)
    state = network_of().state_dict()
    first = "encoder.stem.convs.0.conv.weight"
    with pytest.raises(UserError, match=r"found one of shape \(4,\)"):
        plans_of(network, state | {first: torch.zeros(4)})
    del state[first]
    with pytest.raises(UserError, match=r"expected the first convolution, encoder.stem.convs.0.conv.weight or "):
        plans_of(network, state)


def test_the_plan_for_the_encoder_alone_is_read_without_the_decoder():
    network = network_of(strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]])
    content = plain_json(adaptation_plan(network, preset="ResEncL"))
    encoder = EncoderWeights.read(content, network.state_dict(), "a.pth")
    plan = AdaptationPlan.read(content, "a.pth")
    plans = plan.plans(encoder, "a.pth")
    (planned,) = plans["configurations"].values()
    alone = plan.of_encoder_alone(planned["architecture"])
    again = EncoderWeights.read(alone, encoder.weights, "b.pth")
    assert AdaptationPlan.read(alone, "b.pth").plans(again, "b.pth") == plans
