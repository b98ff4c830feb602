"""The authors' weights, inputs and outputs: our network must reproduce them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn
from torch.testing import assert_close

from nnunet_ext.methods.ba_net.architecture import BANet
from nnunet_ext.methods.ba_net.loss import boundary_target
from nnunet_ext.methods.ba_net.v1_weights import load_v1_weights

REFERENCE = Path(os.environ.get("NNUNET_EXT_REFERENCE", Path(__file__).parents[3] / "shared" / "reference"))


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    file = REFERENCE / "ba_net_iso.npz"
    if not file.is_file():
        pytest.skip(f"{file} is not here; set NNUNET_EXT_REFERENCE to the folder that holds it")
    return dict(np.load(file))


@pytest.fixture(scope="module")
def v1_weights(reference) -> dict[str, torch.Tensor]:
    return {name[2:]: torch.from_numpy(array) for name, array in reference.items() if name.startswith("w/")}


def plain_unet(kernel_sizes: list[list[int]]) -> PlainConvUNet:
    return PlainConvUNet(
        input_channels=1,
        n_stages=4,
        features_per_stage=[4, 8, 16, 16],
        conv_op=nn.Conv3d,
        kernel_sizes=kernel_sizes,
        strides=[[1] * 3, [2] * 3, [2] * 3, [2] * 3],
        n_conv_per_stage=[2] * 4,
        num_classes=3,
        n_conv_per_stage_decoder=[2] * 3,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )


@pytest.mark.parametrize("explicit_kernels", [False, True])
def test_authors_weights_give_the_authors_logits(reference, v1_weights, explicit_kernels):
    network = BANet(plain_unet([[3] * 3] * 4), decoder_kernel_sizes=[[3] * 3] * 3 if explicit_kernels else None)
    load_v1_weights(network, v1_weights)
    with torch.no_grad():
        output = network.train()(torch.from_numpy(reference["x"]))
        plain = network.eval()(torch.from_numpy(reference["x"]))
    for scale in range(3):
        expected = torch.from_numpy(reference[f"seg_{scale}"])
        assert_close(output.segmentation[scale], expected, rtol=0, atol=1e-4)
        assert_close(plain[scale], expected, rtol=0, atol=1e-4)
        assert_close(output.boundary[scale], torch.from_numpy(reference[f"bdr_{scale}"]), rtol=0, atol=1e-4)


def test_boundary_target_equals_the_authors(reference):
    target = boundary_target(torch.from_numpy(reference["label"]))
    assert torch.equal(target.bool(), torch.from_numpy(reference["boundary_full_res"]))
    assert target.sum() > 1000


def test_v1_kernels_on_anisotropic_plans_need_explicit_sizes(v1_weights):
    """v1's decoder never uses the first encoder kernel; its full-resolution stage is 3x3x3 after a 1x3x3 encoder."""
    kernels = [[1, 3, 3], [3] * 3, [3] * 3, [3] * 3]
    weights = dict(v1_weights)
    for block in (0, 1):
        name = f"conv_blocks_context.0.blocks.{block}.conv.weight"
        weights[name] = weights[name][:, :, 1:2]
    with pytest.raises(ValueError, match=r"expected 'conv_blocks_localization.2.0.blocks.0.conv.weight' of shape"):
        load_v1_weights(BANet(plain_unet(kernels)), weights)
    shifted = BANet(plain_unet(kernels), decoder_kernel_sizes=kernels[1:])
    load_v1_weights(shifted, weights)
    assert shifted.decoder.stages[-1].convs[0].conv.weight.shape == (4, 8, 3, 3, 3)
    assert_close(
        shifted.boundary_decoder.stages[-1].convs[0].conv.weight,
        v1_weights["conv_blocks_boundary.2.0.blocks.0.conv.weight"],
    )


def test_left_over_and_missing_weights_are_refused(v1_weights):
    with pytest.raises(ValueError, match="1 tensors are left over"):
        load_v1_weights(BANet(plain_unet([[3] * 3] * 4)), v1_weights | {"extra": torch.zeros(1)})
    short = {name: tensor for name, tensor in v1_weights.items() if name != "tb.1.weight"}
    with pytest.raises(ValueError, match=r"'tb.1.weight' of shape \(16, 8, 2, 2, 2\), got None"):
        load_v1_weights(BANet(plain_unet([[3] * 3] * 4)), short)
