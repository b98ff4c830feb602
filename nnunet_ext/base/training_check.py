"""Plans and data with which stock nnU-Net crashes in training, or trains on NaN."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

from nnunet_ext.errors import UserError

SMALLEST = 4  # voxels: a Gaussian of sigma 1 has 7 weights, so nnU-Net's blur mirrors 3 voxels, which needs 4
MOST_AXES = 3
FEWEST_STAGES = 3


def check_patch(patch_size: Iterable[int], plans_name: str, configuration: str) -> None:
    """Refuse a patch on which stock nnU-Net crashes at a random training step: whenever the blur is drawn.

    The blur works along every axis, including the slice axis, in 2d, in 3d and in 3d with in-plane augmentation.

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


def check_deep_supervision(plan: ConfigurationManager, plans_name: str, configuration: str) -> None:
    """Refuse plans that leave a single scale of deep supervision, whose weight in stock nnU-Net is 0.

    Args:
        plan: The configuration's plan.
        plans_name: Name of the plans.
        configuration: Name of the configuration.

    Raises:
        UserError: The network has fewer than 3 stages.
    """
    stages = len(plan.pool_op_kernel_sizes)
    if stages < FEWEST_STAGES:
        raise UserError(
            f"plans {plans_name!r}, configuration {configuration!r}: expected at least {FEWEST_STAGES} network stages, "
            f"got {stages} for patch {list(plan.patch_size)}: a single deep-supervision scale has weight 0 and the "
            f"loss is NaN. Plan with a larger patch (-overwrite_target_spacing with a finer spacing, or more GPU "
            f"memory)."
        )


def check_ddp_batch(plan: ConfigurationManager, ranks: int) -> None:
    """Refuse a batch that the ranks of distributed training cannot share.

    Args:
        plan: The configuration's plan.
        ranks: Number of ranks.

    Raises:
        UserError: A rank would have no sample; or batch Dice and ranks of different batch sizes.
    """
    batch = plan.batch_size
    if plan.batch_dice:
        fits, expected = batch % ranks == 0, f"a divisor of the plans' batch size {batch}"
        why = "stock batch Dice hangs on uneven batches"
    else:
        fits, expected = batch >= ranks, f"at most the plans' batch size {batch}"
        why = "each rank needs a sample"
    if not fits:
        most = max(n for n in range(1, ranks + 1) if batch % n == 0)
        raise UserError(
            f"-num_gpus {ranks}: expected {expected}; {why}. Use -num_gpus {most}, or plan with more memory "
            f"(-gpu_memory_target)."
        )


def check_sample(data: Any) -> None:
    """Check one preprocessed case, for data whose raw files were never checked.

    Args:
        data: One of nnU-Net's training datasets; its first case, if any, is checked.

    Raises:
        UserError: Its images have axes besides the spatial ones, or its label has several channels.
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
