"""What a prediction will need, from the plans: time, memory of the GPU, memory.

These are estimates. Time is the network's operations by an assumed speed, besides a fixed time for everything else.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nnunet_ext.challenges.container.interface import STRUCTURES, Interface
from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.files.json_file import read_object
from nnunet_ext.prediction.sliding_window import count_windows
from nnunet_ext.prediction.trained_model import TrainedModel
from nnunet_ext.weights.rules import CONVOLUTIONS, TRANSPOSED

logger = logging.getLogger(__name__)
GIB = 2**30
START = 60.0  # seconds for the start of the container, reading, resampling, writing
GPU_BASE = 1.5 * GIB  # CUDA itself, and workspace of convolutions
RAM_BASE = 3.0 * GIB  # Python, torch, CUDA
RESERVED = 1.0 * GIB  # of the memory, for the platform
HALF, SINGLE = 2, 4  # bytes


@dataclass(frozen=True)
class Limits:
    """What the platform gives to a case.

    Args:
        seconds: Of a case, start of the container included.
        gpu_memory: Bytes.
        ram: Bytes.
        speed: Operations of the network per second, assumed.
    """

    seconds: float
    gpu_memory: float
    ram: float
    speed: float


@dataclass(frozen=True)
class Case:
    """The case that is estimated.

    Args:
        shape: Voxels of the image, axes in the plans' order.
        preprocessed: After resampling to the plans' spacing.
        source: Where the shape comes from, in words.
    """

    shape: tuple[int, ...]
    preprocessed: tuple[int, ...]
    source: str


@dataclass(frozen=True)
class Estimate:
    """What predicting a case needs.

    Args:
        case: The case.
        windows: Of each fold.
        operations: Of the network for one window; an addition counts as one, and so does a multiplication.
        folds: Number of folds.
        axes: Number of axes that are mirrored along; ``2 ** axes`` passes of the network for each window.
        network: Bytes of the GPU that the network needs.
        sums: Bytes of image and sums of logits, on the GPU while they fit, else in memory.
        ram: Bytes of memory besides.
    """

    case: Case
    windows: int
    operations: int
    folds: int
    axes: int
    network: int
    sums: int
    ram: int

    def seconds(self, speed: float, folds: int | None = None, axes: int | None = None) -> float:
        """Return the seconds of a case, with other folds or mirrored axes if given."""
        folds, axes = self.folds if folds is None else folds, self.axes if axes is None else axes
        return START + self.windows * folds * 2**axes * self.operations / speed

    def memory(self, limits: Limits) -> float:
        """Return the bytes of memory: with the sums, where the GPU has no room for them."""
        return self.ram + (self.sums if self.network + self.sums > limits.gpu_memory else 0)

    def lines(self, limits: Limits) -> list[str]:
        """Return the estimate in words."""
        return [
            f"Estimate for {' x '.join(map(str, self.case.shape))} voxels ({self.case.source}): {self.windows} windows "
            f"x {self.folds} fold{'s' * (self.folds > 1)} x {2**self.axes} mirrorings x {self.operations / 1e9:.3g} "
            f"GFLOP; at an assumed {limits.speed / 1e12:g} TFLOP/s about {_time(self.seconds(limits.speed))}, of which "
            f"{START:.0f} s are for everything but the network. Limit: {_time(limits.seconds)}.",
            f"GPU memory about {_gib(self.network)}, and {_gib(self.sums)} for image and sums while they fit. Limit: "
            f"{_gib(limits.gpu_memory)}. RAM about {_gib(self.memory(limits))}. Limit: {_gib(limits.ram)}, of which "
            f"the platform keeps {_gib(RESERVED)}.",
        ]

    def problems(self, limits: Limits) -> list[str]:
        """Return a line with a remedy for each limit that is too low."""
        found = []
        if self.seconds(limits.speed) > limits.seconds:
            wanted = f"{self.folds} fold{'s' * (self.folds > 1)} x {2**self.axes} mirrorings"
            found.append(f"{wanted} will not fit {_time(limits.seconds)}; {self._remedy(limits)}")
        if self.network > limits.gpu_memory:
            found.append(
                f"a network of about {_gib(self.network)} will not fit {_gib(limits.gpu_memory)} of GPU memory; use a "
                f"configuration with a smaller patch"
            )
        if self.memory(limits) > limits.ram - RESERVED:
            found.append(
                f"about {_gib(self.memory(limits))} of RAM will not fit {_gib(limits.ram)} less {_gib(RESERVED)}; use "
                f"fewer folds (-f), or ask for more"
            )
        return found

    def _remedy(self, limits: Limits) -> str:
        """What would fit, in the order in which the container drops it."""
        fewer = [(self.folds, axes) for axes in range(self.axes - 1, -1, -1)]
        fewer += [(folds, 0) for folds in range(self.folds - 1, 0, -1)]
        fits = [each for each in fewer if self.seconds(limits.speed, *each) <= limits.seconds]
        if not fits:
            return "not even 1 fold without mirroring will; use a smaller network, or -step_size above 0.5"
        folds, axes = fits[0]
        if axes:
            return (
                f"use {folds} fold{'s' * (folds > 1)} x {2**axes} mirrorings, which the container falls back to, or "
                f"--no_mirroring"
            )
        use = [f"{folds} fold{'s' * (folds > 1)} (-f)"] * (folds < self.folds) + ["--no_mirroring"] * (self.axes > 0)
        return f"use {' and '.join(use)}, which the container falls back to"


def estimate(
    model: TrainedModel,
    case: Case,
    interface: Interface,
    record: ChallengeRecord | None,
    *,
    step_size: float,
    mirroring: bool,
) -> Estimate | None:
    """Return what predicting a case needs; None if the network's operations cannot be counted, which is logged.

    Args:
        model: The model, with its folds.
        case: The case.
        interface: Of the challenge.
        record: The challenge's structures, if the model has them.
        step_size: Step of the sliding window in patches.
        mirroring: Whether the container mirrors.
    """
    patch = tuple(model.configuration.patch_size)
    try:
        operations, elements = network_work(model.network, (1, model.channels, *patch))
    except Exception as error:  # a network of any package, on torch's device without memory
        logger.warning("no estimate of time and memory: %s", one_line(error))
        return None
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters[0].values())
    folds, heads = len(model.parameters), model.label_manager.num_segmentation_heads
    depth = patch[0] if len(patch) == 3 else min(16, case.preprocessed[0])
    voxels, resampled = (int(np.prod(shape)) for shape in (case.shape, case.preprocessed))
    padded = [max(size, side) for size, side in zip(case.preprocessed[-2:], patch[-2:], strict=True)]
    sums = folds * heads * depth * int(np.prod(padded)) * HALF + model.channels * resampled * SINGLE
    sums += folds * weights if folds > 1 else 0
    images = 2 * model.channels * (voxels + resampled) * SINGLE  # each is copied once
    structures = len(record.structures) if record is not None and interface.output.kind == STRUCTURES else 1
    return Estimate(
        case=case,
        windows=count_windows(case.preprocessed, patch, step_size),
        operations=operations,
        folds=folds,
        axes=len(model.mirroring_axes or ()) if mirroring else 0,
        network=round(GPU_BASE + 1.5 * weights + elements * HALF),
        sums=sums,
        ram=round(RAM_BASE + (folds + 1) * weights + images + (2 + structures) * voxels),
    )


def network_work(network: nn.Module, shape: Sequence[int]) -> tuple[int, int]:
    """Return the operations of one pass of a network, and the elements of all outputs of its convolutions.

    Nothing is computed: tensors are on torch's device ``meta``, which has shapes only.

    Args:
        network: The network.
        shape: Of the input, (1, C, D, H, W) or (1, C, H, W).

    Example:
        >>> network_work(nn.Conv2d(1, 2, 3, padding=1), (1, 1, 10, 10))  # 100 voxels x 2 x 9 multiplications and sums
        (3600, 200)
    """
    bare = copy.deepcopy(getattr(network, "_orig_mod", network)).to("meta").eval()
    elements = 0

    def count(_: nn.Module, __: Any, output: Any) -> None:
        nonlocal elements
        elements += output.numel() if isinstance(output, Tensor) else 0

    for module in bare.modules():
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
            module.register_forward_hook(count)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        bare(torch.empty(tuple(shape), device="meta"))
    return counter.get_total_flops(), elements


def case_of(folder: Path, model: TrainedModel, size: Sequence[int] | None) -> Case:
    """Return the case to estimate.

    Args:
        folder: Of the model: its ``dataset_fingerprint.json`` knows the training images.
        model: The model.
        size: Voxels of an image, axes in the plans' order, at the median spacing of the training images; None: the
            training image with most voxels after resampling, or else the median one in the plans.

    Raises:
        UserError: Nothing tells the size of the images.
    """
    plans: Mapping[str, Any] = model.plans_manager.plans
    spacing = model.configuration.spacing
    median, step = (plans.get(f"original_median_{name}_after_transp") for name in ("shape", "spacing"))
    if size is not None and step:
        return Case(tuple(size), _resampled(size, step, spacing), "as given")
    file = folder / "dataset_fingerprint.json"
    if size is None and file.is_file():
        found = read_object(file)
        order = plans["transpose_forward"]
        pairs = zip(found["shapes_after_crop"], found["spacings"], strict=True)
        turned = [([shape[axis] for axis in order], [steps[axis] for axis in order]) for shape, steps in pairs]
        cases = [
            Case(tuple(shape), _resampled(shape, steps, spacing), "largest training image") for shape, steps in turned
        ]
        return max(cases, key=lambda case: int(np.prod(case.preprocessed)))
    if size is None and median and step:
        return Case(tuple(map(int, median)), _resampled(median, step, spacing), "median training image")
    raise UserError(
        f"{folder}: expected plans with the median shape and spacing of the training images, found none. Give the "
        f"folder of a model that nnU-Net planned, or --no_estimate."
    )


def _resampled(shape: Sequence[float], steps: Sequence[float], spacing: Sequence[float]) -> tuple[int, ...]:
    target = [steps[0], *spacing] if len(spacing) == 2 else spacing  # slices keep their distance
    return tuple(round(size * step / to) for size, step, to in zip(shape, steps, target, strict=True))


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
