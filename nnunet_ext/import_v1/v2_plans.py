"""Plans of nnU-Net v2 for a network of v1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dynamic_network_architectures.building_blocks.helper import convert_dim_to_conv_op, get_matching_instancenorm

from nnunet_ext.base.knobs import put
from nnunet_ext.import_v1.preprocessing import Preprocessing
from nnunet_ext.import_v1.v1_geometry import V1Geometry

NAME = "V1Plans"
RESAMPLING = "resample_data_or_seg_to_shape"


def v2_plans(
    dataset: str,
    configuration: str,
    geometry: V1Geometry,
    preprocessing: Preprocessing,
    *,
    kernels: Sequence[Sequence[int]],
    patch_size: Sequence[int],
    batch_size: int,
    batch_dice: bool = False,
    median_shape: Sequence[int] | None = None,
    knobs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return plans with one configuration, with v1's network and preprocessing.

    Images are resampled as v1 did: splines of order 3, nearest neighbour along the axis of thick slices; logits with
    order 1. These are also v2's own settings.

    Args:
        dataset: ``Dataset004_Kidney``.
        configuration: ``2d``, ``3d_lowres`` or ``3d_fullres``.
        geometry: v1's network.
        preprocessing: v1's preprocessing.
        kernels: Kernel size of each encoder stage.
        patch_size: (D, H, W) or (H, W), voxels.
        batch_size: Samples in a training batch.
        batch_dice: Whether the loss takes Dice over the batch.
        median_shape: Median shape of the training images at the target spacing; the patch's if it is not known.
        knobs: The plans' block of knobs.
    """
    conv, norm = convert_dim_to_conv_op(geometry.dimensions), get_matching_instancenorm(dimension=geometry.dimensions)
    shape = [int(length) for length in (patch_size if median_shape is None else median_shape)]
    interpolation = {"order": 3, "order_z": 0, "force_separate_z": None}
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": len(geometry.features),
            "features_per_stage": list(geometry.features),
            "conv_op": f"{conv.__module__}.{conv.__name__}",
            "kernel_sizes": [list(kernel) for kernel in kernels],
            "strides": [list(stride) for stride in geometry.strides],
            "n_conv_per_stage": list(geometry.convs),
            "n_conv_per_stage_decoder": list(geometry.decoder_convs),
            "conv_bias": True,
            "norm_op": f"{norm.__module__}.{norm.__name__}",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    planned = {
        "data_identifier": f"{NAME}_{configuration}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": int(batch_size),
        "patch_size": [int(length) for length in patch_size],
        "median_image_size_in_voxels": shape[-len(patch_size) :],
        "spacing": list(preprocessing.spacing),
        "normalization_schemes": list(preprocessing.schemes),
        "use_mask_for_norm": list(preprocessing.masks),
        "resampling_fn_data": RESAMPLING,
        "resampling_fn_seg": RESAMPLING,
        "resampling_fn_data_kwargs": {"is_seg": False} | interpolation,
        "resampling_fn_seg_kwargs": {"is_seg": True} | interpolation | {"order": 1},
        "resampling_fn_probabilities": RESAMPLING,
        "resampling_fn_probabilities_kwargs": {"is_seg": False} | interpolation | {"order": 1},
        "architecture": architecture,
        "batch_dice": batch_dice,
    }
    plans: dict[str, Any] = {
        "dataset_name": dataset,
        "plans_name": NAME,
        "original_median_spacing_after_transp": list(preprocessing.spacing),
        "original_median_shape_after_transp": shape,
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(preprocessing.transpose_forward),
        "transpose_backward": list(preprocessing.transpose_backward),
        "configurations": {configuration: planned},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            channel: dict(known) for channel, known in preprocessing.intensities.items()
        },
    }
    put(plans, dict(knobs or {}))
    return plans
