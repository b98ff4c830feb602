"""The patch size of fine-tuning plans."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.decision import Decision, in_words
from nnunet_ext.fine_tuning.own_plans import OwnPlans
from nnunet_ext.fine_tuning.source_network import SourceNetwork

WHAT = "patch size"
PADDED = 2  # a patch may be this many times as long as the images


def decide_patch_size(
    network: SourceNetwork,
    own: OwnPlans,
    planned: Sequence[int],
    shape: NDArray[np.float64],
    wanted: str | Sequence[int] | None = None,
) -> Decision:
    """Decide the patch size: the data's own, rounded to what the network can halve, within the planner's memory.

    Args:
        network: The source's.
        own: The data's own plans.
        planned: The patch that the planner chooses for its own network, in the order of the plans.
        shape: Median shape of the images at the decided spacing, of the same axes.
        wanted: ``source``, ``target``, or numbers in the order of the plans.

    Raises:
        UserError: The network cannot take the numbers; or no patch that it can take suits the images or the memory.
    """
    source, divisor = network.source, network.divisor
    if wanted is not None and not isinstance(wanted, str):
        _check(wanted, divisor, network)
        return _asked(wanted, "--patch_size", network, own)
    if wanted == "source":
        return _asked(source.patch_size, "--patch_size source", network, own)
    if divisor is None or not network.can_be_counted:
        why = f"{source.architecture['network_class_name']} does not say which patches it takes, or how much memory"
        if wanted == "target":
            raise UserError(f"--patch_size target: {why}. Give --patch_size source, or numbers.")
        return Decision(WHAT, list(source.patch_size), "source", why)
    _check_images(shape, divisor, network)
    rounded = _at_least_two(
        [max(1, int(size / step + 0.5)) * step for size, step in zip(planned, divisor, strict=True)], divisor
    )
    taken = _within_memory(rounded, divisor, shape, network, own)
    why = f"your planner takes {in_words(list(planned))}"
    if rounded != list(planned):
        why += f", rounded to multiples of {in_words(divisor)}, which the source's strides divide"
    if taken != rounded:
        why += f", and {in_words(rounded)} with the source's network needs more memory than planned for"
    if source.pretraining is not None:
        why += f"; the pre-training recommends {in_words(source.patch_size)}, which --patch_size source takes"
    if wanted == "target":
        return Decision(WHAT, taken, "flag", f"--patch_size target; {why}")
    return Decision(WHAT, taken, "target", why)


def _asked(patch: Sequence[int], why: str, network: SourceNetwork, own: OwnPlans) -> Decision:
    warning = ""
    if network.can_be_counted and (fitting := network.samples(patch, own)) < own.planner.UNet_min_batch_size:
        times = own.planner.UNet_min_batch_size / fitting
        warning = f"patch size: a batch of {own.planner.UNet_min_batch_size} needs {times:.2g} times the planned memory"
    return Decision(WHAT, [int(size) for size in patch], "flag", why, warning=warning)


def _check(wanted: Sequence[int], divisor: tuple[int, ...] | None, network: SourceNetwork) -> None:
    text, axes = " ".join(map(str, wanted)), network.source.dimensions
    if len(wanted) != axes:
        raise UserError(
            f"--patch_size {text}: expected {axes} numbers, one for each axis, got {len(wanted)}. Correct it."
        )
    if divisor is None:
        return
    nearest = _at_least_two(
        [max(1, round(size / step)) * step for size, step in zip(wanted, divisor, strict=True)], divisor
    )
    if nearest != list(wanted):
        raise UserError(
            f"--patch_size {text}: expected multiples of {' '.join(map(str, divisor))}, which the source's strides "
            f"divide, and more than one voxel at the bottleneck. Nearest: {' '.join(map(str, nearest))}."
        )


def _at_least_two(patch: list[int], divisor: tuple[int, ...]) -> list[int]:
    """Return the patch, longer along its shortest axis if one voxel is left of it at the bottleneck.

    Instance norm cannot train on a single voxel.
    """
    if prod(patch) > prod(divisor):
        return patch
    axis = int(np.argmin(divisor))
    return [size + step * (number == axis) for number, (size, step) in enumerate(zip(patch, divisor, strict=True))]


def _check_images(shape: NDArray[np.float64], divisor: tuple[int, ...], network: SourceNetwork) -> None:
    for axis, (size, step) in enumerate(zip(shape, divisor, strict=True)):
        if size * PADDED < step:
            raise UserError(
                f"{network.source.file}: expected images that a patch of this network can be cut from, {step} voxels "
                f"or more along axis {axis} of the plans, found {size:.0f} in the median at the decided spacing: "
                f"one voxel of its bottleneck is larger. Give a finer --spacing, take a source with fewer stages, or "
                f"pad with --patch_size {' '.join(map(str, _at_least_two(list(divisor), divisor)))}."
            )


def _within_memory(
    patch: list[int], divisor: tuple[int, ...], shape: NDArray[np.float64], network: SourceNetwork, own: OwnPlans
) -> list[int]:
    """Shorten the axis that is longest for the images until a batch fits, as nnU-Net does."""
    taken, least = list(patch), _at_least_two(list(divisor), divisor)
    while (fitting := network.samples(taken, own)) < own.planner.UNet_min_batch_size:
        shorter = [axis for axis, (size, step) in enumerate(zip(taken, divisor, strict=True)) if size > step]
        shorter = [
            axis for axis in shorter if prod(taken) // taken[axis] * (taken[axis] - divisor[axis]) > prod(divisor)
        ]
        if not shorter:
            times = own.planner.UNet_min_batch_size / fitting
            raise UserError(
                f"{network.source.file}: expected a network whose smallest patch, {' '.join(map(str, least))}, fits "
                f"into the planned memory, but it needs {times:.2g} times that. Raise -gpu_memory_target, choose "
                f"another -pl, or give --patch_size."
            )
        axis = max(shorter, key=lambda number: taken[number] / shape[number])
        taken[axis] -= divisor[axis]
    return taken
