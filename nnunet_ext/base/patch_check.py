"""Patches that nnU-Net's augmentation cannot take."""

from __future__ import annotations

from collections.abc import Iterable

from nnunet_ext.errors import UserError

SMALLEST = 4  # voxels: a Gaussian of sigma 1 has 7 weights, so nnU-Net's blur mirrors 3 voxels, which needs 4


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
