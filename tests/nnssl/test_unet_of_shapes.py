"""The architecture that shapes tell is the one that the weights are of."""

import pytest
from nnssl_checkpoint import adaptation_plan, kwargs_of, network_of
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from nnunet_ext.errors import UserError
from nnunet_ext.nnssl.encoder_weights import EncoderWeights
from nnunet_ext.nnssl.unet_of_shapes import unet_of_shapes

ANISOTROPIC = {"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]]}


def described(network, name="ResEncL", *, decoder=True) -> dict:
    found = EncoderWeights.read(adaptation_plan(network), network.state_dict(), "a.pth")
    return unet_of_shapes(found.weights, found.left_out if decoder else {}, name, "a.pth")


@pytest.mark.parametrize("kind", ["resenc", "plain"])
@pytest.mark.parametrize("settings", [{}, ANISOTROPIC, {"decoder_convolutions": [2, 1]}, {"features": (4, 4, 8)}])
def test_all_arguments(kind, settings):
    network = network_of(kind, **settings)
    found = described(network, type(network).__name__)
    assert found["network_class_name"].endswith(f".{type(network).__name__}")
    assert found["arch_kwargs"] == kwargs_of(network)
    built = get_network_from_plans(*found.values(), 1, 1, deep_supervision=False)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert {name: tensor.shape for name, tensor in built.state_dict().items()} == shapes


@pytest.mark.parametrize("norm", [nn.BatchNorm3d, nn.InstanceNorm3d])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_norm_and_bias(norm, affine, bias):
    network = network_of(norm_op=norm, norm_op_kwargs={"eps": 1e-5, "affine": affine}, conv_bias=bias)
    kwargs = described(network)["arch_kwargs"]
    assert kwargs["norm_op"].endswith(f".{norm.__name__}")
    assert (kwargs["norm_op_kwargs"]["affine"], kwargs["conv_bias"]) == (affine, bias)


def test_without_a_decoder_only_the_preset_tells_the_strides():
    kwargs = described(network_of(), decoder=False)["arch_kwargs"]
    assert kwargs["strides"] == [[1, 1, 1], [2, 2, 2], [2, 2, 2]]
    assert kwargs["n_conv_per_stage_decoder"] == [1, 1]
    plain = described(network_of("plain"), decoder=False)["arch_kwargs"]
    assert plain["n_conv_per_stage_decoder"] == [2, 2]
    with pytest.raises(UserError, match="which tell the strides, found none of them \\('ResidualEncoderUNet'\\)"):
        described(network_of(), "ResidualEncoderUNet", decoder=False)


@pytest.mark.parametrize(("lost", "left"), [("encoder.stages.1.", "0, 2"), ("encoder.stages.", "none")])
def test_stages_that_are_missing(lost, left):
    weights = {name: value for name, value in network_of().state_dict().items() if not name.startswith(lost)}
    with pytest.raises(UserError, match=f"one after the other, found those of stages {left}. Take"):
        unet_of_shapes(weights, {}, "ResEncL", "a.pth")
