"""The U-Net of nnU-Net v1 by the shapes of its weights, and plans of another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from v1_model import KERNELS, POOLS, unet_weights, uniseg_weights

from nnunet_ext.errors import UserError
from nnunet_ext.import_v1.v1_geometry import V1Geometry

FILE = Path("v1.model")
PLANS: dict[str, Any] = {"pools": POOLS, "kernels": KERNELS, "base_features": 2, "channels": 1}


def test_sizes() -> None:
    sizes = V1Geometry.of(unet_weights(channels=2), FILE)
    assert sizes.kernels == ((1, 3, 3), (3, 3, 3), (3, 3, 3))
    assert sizes.strides == ((1, 1, 1), (1, 2, 2), (2, 2, 2))
    assert (sizes.features, sizes.convs, sizes.decoder_convs) == ((2, 4, 6), (2, 2, 2), (2, 2))
    assert (sizes.stems, sizes.heads, sizes.prompt) == ((2,), 3, None)
    assert (sizes.dimensions, sizes.total_stride, sizes.shifted) == (3, (2, 4, 4), True)
    assert not V1Geometry.of(unet_weights([[3, 3]] * 3, [[2, 2]] * 2), FILE).shifted
    sizes = V1Geometry.of(uniseg_weights(), FILE)
    assert (sizes.stems, sizes.prompt, sizes.convs) == ((1, 2), (1, 3, 2, 4, 4), (2, 2, 2))


def test_fitting_plans_pass_whatever_the_largest_number_of_features_is() -> None:
    for weights in (unet_weights(), uniseg_weights()):
        V1Geometry.of(weights, FILE).check_plans(weights, FILE, **PLANS)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"kernels": [[3, 3, 3]] * 3},
            "expected 'conv_blocks_context.0.blocks.0.conv.weight' of shape (2, 1, 3, 3, 3) as the plans say, found "
            "(2, 1, 1, 3, 3).",
        ),
        (
            {"channels": 4},
            "expected 'conv_blocks_context.0.blocks.0.conv.weight' of shape (2, 4, 1, 3, 3) as the plans say, found "
            "(2, 1, 1, 3, 3).",
        ),
        (
            {"base_features": 3},
            "expected 'conv_blocks_context.0.blocks.0.conv.weight' of shape (3, 1, 1, 3, 3) as the plans say, found "
            "(2, 1, 1, 3, 3).",
        ),
        (
            {"pools": [[2, 2, 2]] * 2},
            "expected 'tu.1.weight' of shape (4, 2, 2, 2, 2) as the plans say, found (4, 2, 1, 2, 2).",
        ),
        (
            {"pools": [*POOLS, [2, 2, 2]], "kernels": [*KERNELS, [3, 3, 3]]},
            "expected 'conv_blocks_context.3.blocks.0.conv.weight' of shape (6, 6, 3, 3, 3) as the plans say, found "
            "None.",
        ),
        (
            {"pools": POOLS[:1], "kernels": KERNELS[:2]},
            "expected 'tu.0.weight' of shape (4, 2, 1, 2, 2) as the plans say, found (6, 4, 2, 2, 2).",
        ),
    ],
)
def test_the_first_tensor_that_differs_is_named_with_both_shapes(change: dict[str, Any], line: str) -> None:
    weights = unet_weights()
    with pytest.raises(UserError) as error:
        V1Geometry.of(weights, FILE).check_plans(weights, FILE, **PLANS | change)
    assert line in str(error.value)
    assert str(error.value).endswith("Give the plans of this training.")


def test_fewer_stages_in_the_plans_are_refused_where_the_others_fit() -> None:
    """Equal stages at the bottom: only the surplus tensor differs."""
    weights = unet_weights([[3, 3]] * 4, [[2, 2]] * 3, (2, 2, 2, 2))
    sizes = V1Geometry.of(weights, FILE)
    with pytest.raises(UserError, match=r"expected 'tu.2.weight' of shape None as the plans say, found"):
        sizes.check_plans(weights, FILE, pools=[[2, 2]] * 2, kernels=[[3, 3]] * 3, base_features=2, channels=1)


@pytest.mark.parametrize(
    ("name", "tensor", "line"),
    [
        ("conv_blocks_context.1", None, r"expected the stages 0, 1, ... of nnU-Net v1's encoder .*, found \[0, 2\]"),
        ("conv_blocks_context", None, "found none. Give a checkpoint of v1's plain U-Net"),
        ("tu.1.weight", None, "expected 'tu.1.weight' with the weights of a 2d or 3d convolution, found none"),
        ("tu.1.weight", torch.zeros(4), r"found shape \(4,\)"),
        ("seg_outputs.1", None, "expected 'seg_outputs.1.weight' with the weights"),
    ],
)
def test_other_networks_are_refused(name: str, tensor: torch.Tensor | None, line: str) -> None:
    weights = {key: value for key, value in unet_weights().items() if not key.startswith(name)}
    if tensor is not None:
        weights[name] = tensor
    with pytest.raises(UserError, match=line):
        V1Geometry.of(weights, FILE)
