"""The U-Nets of nnU-Net's plans, small: as networks and as the plans describe them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

GEOMETRIES = {  # strides, kernels and a patch
    "3d": ([[1, 1, 1], [2, 2, 2], [2, 2, 2]], [[3, 3, 3]] * 3, (8, 16, 12)),
    "3d anisotropic": ([[1, 1, 1], [1, 2, 2], [2, 2, 2]], [[1, 3, 3], [3, 3, 3], [3, 3, 3]], (4, 8, 12)),
    "2d": ([[1, 1], [2, 2], [2, 1]], [[3, 3]] * 3, (16, 8)),
}
KINDS = ("plain", "resenc")


def small_unet(
    kind: str = "plain",
    strides: Sequence[Sequence[int]] = GEOMETRIES["3d"][0],
    kernels: Sequence[Sequence[int]] | None = None,
    *,
    features: Sequence[int] = (4, 6, 8),
    classes: int = 3,
    channels: int = 1,
    convolutions: Sequence[int] | None = None,
    decoder_convolutions: Sequence[int] | None = None,
    deep_supervision: bool = True,
    **further: Any,
) -> PlainConvUNet | ResidualEncoderUNet:
    """Return a U-Net with instance norm and leaky ReLU, as nnU-Net plans it; residual blocks for convolutions."""
    stages, dims = len(strides), len(strides[0])
    common = {
        "input_channels": channels,
        "n_stages": stages,
        "features_per_stage": list(features),
        "num_classes": classes,
        "conv_op": nn.Conv2d if dims == 2 else nn.Conv3d,
        "kernel_sizes": kernels or [[3] * dims] * stages,
        "strides": strides,
        "n_conv_per_stage_decoder": list(decoder_convolutions or [1] * (stages - 1)),
        "conv_bias": True,
        "norm_op": nn.InstanceNorm2d if dims == 2 else nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "deep_supervision": deep_supervision,
    } | further
    blocks = list(convolutions or [1] * stages)
    if kind == "plain":
        return PlainConvUNet(n_conv_per_stage=blocks, **common)
    return ResidualEncoderUNet(n_blocks_per_stage=blocks, **common)


def planned_unet(
    strides: Sequence[Sequence[int]] = GEOMETRIES["3d"][0],
    *,
    features: Sequence[int] = (4, 6, 8),
    convolutions: int = 1,
) -> dict[str, Any]:
    """Return the entry ``architecture`` of a configuration: a plain U-Net with 3x3x3 kernels."""
    stages = len(strides)
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(features)[:stages],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * stages,
            "strides": list(strides),
            "n_conv_per_stage": [convolutions] * stages,
            "n_conv_per_stage_decoder": [convolutions] * (stages - 1),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
