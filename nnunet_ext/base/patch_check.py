"""Patches and images with which a training of nnU-Net dies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nnunet_ext.errors import UserError

SMALLEST = 4  # voxels: a Gaussian of sigma 1 has 7 weights, so nnU-Net's blur mirrors 3 voxels, which needs 4
MOST_AXES = 3


def check_patch(patch_size: Iterable[int], plans_name: str, configuration: str) -> None:
    """Refuse a patch on which a training of stock nnU-Net dies at a random step: whenever the blur is drawn.

    The blur works along every axis, also that of the slices, in 2d, in 3d and in 3d with augmentation in the plane.

    Args:
        patch_size: The patch in voxels, (Z, Y, X) or (Y, X).
        plans_name: Name of the plans.
        configuration: Name of the configuration.

    Raises:
        UserError: The patch has fewer than 4 voxels along an axis.
    """
    patch = [int(size) for size in patch_size]
    if min(patch) < SMALLEST:
        other = "Train the configuration 2d, or plan" if len(patch) == 3 else "Plan"
        raise UserError(
            f"plans {plans_name!r}, configuration {configuration!r}: expected a patch of at least {SMALLEST} "
            f"voxels along each axis, got {patch}: nnU-Net's blur would end the training at a random step. {other} "
            f"with a finer spacing along the short axis (-overwrite_target_spacing)."
        )


def check_sample(data: Any) -> None:
    """Look at one preprocessed case, for data that were never checked raw.

    Args:
        data: A dataset of nnU-Net's training; its first case counts, if there is any.

    Raises:
        UserError: Its images have further axes beside the spatial ones, or its label has several channels.
    """
    if not data.identifiers:
        return
    case = sorted(data.identifiers)[0]
    _, label, _, properties = data.load_case(case)
    axes = len(properties.get("sitk_stuff", {}).get("spacing", ()))
    place = f"{data.source_folder}: case {case!r}"
    if axes > MOST_AXES:
        raise UserError(
            f"{place}: expected images with at most {MOST_AXES} axes, found {axes}: nnU-Net could not write its "
            f"predictions. Split each into one file for each channel, named _0000, _0001 ..., and preprocess again."
        )
    if label is not None and label.shape[0] != 1:
        raise UserError(
            f"{place}: expected a label with one channel, found {label.shape[0]}. Save the labels again with the "
            f"number of the class as the only value of a voxel, and preprocess again."
        )
