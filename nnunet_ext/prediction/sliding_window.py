"""The sliding window in slabs: nnU-Net's logits, of which only a patch's depth is in memory at a time.

nnU-Net keeps the sums of all classes for the whole image, and a second time for several folds. Its windows run row by
row along the first axis, so slices that no later window touches are finished. All sums are made as nnU-Net makes them
(fp16, in the order of its windows and folds), so the logits are bit-identical.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
from torch import Tensor

from nnunet_ext.errors import UserError, one_line
from nnunet_ext.prediction.full_gpu import gpu_is_full
from nnunet_ext.prediction.trained_model import TrainedModel

SLICES = 16  # of an image that a 2d configuration predicts at a time: each fold's weights are loaded once for them
Progress = Callable[[int, int], None]
Window = tuple[int | slice, slice, slice]


@dataclass(frozen=True)
class _Row:
    """Windows with the same place along the first axis, or slices for a 2d configuration.

    Args:
        start: First slice.
        finished: Slices from there on that no later row touches.
        windows: Relative to ``start``.
    """

    start: int
    finished: int
    windows: list[Window]


class SlidingWindow:
    """Predicts preprocessed images with a model.

    Args:
        model: The model; its network is moved to the device.
        device: Where the network runs.
        step_size: Step of the window, in patches: above 0, at most 1.
        mirroring: Average over the mirrorings that the training used.

    Raises:
        UserError: The step is out of range, or the GPU's memory is full.
    """

    def __init__(
        self, model: TrainedModel, device: torch.device, *, step_size: float = 0.5, mirroring: bool = True
    ) -> None:
        if not 0 < step_size <= 1:
            raise UserError(f"step_size: expected a number above 0 and at most 1, got {step_size!r}. Correct it.")
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # as nnU-Net does
        self.model = model
        self.device = device
        self.step_size = step_size
        self.mirroring_axes = model.mirroring_axes if mirroring else None
        try:
            model.network.to(device).eval()
        except RuntimeError as error:
            if not gpu_is_full(error):
                raise
            raise UserError(
                f"device {device}: expected memory for the model, got {one_line(error)!r}. End what else runs on this "
                f"GPU, choose another (CUDA_VISIBLE_DEVICES), or predict on the CPU."
            ) from error

    @torch.inference_mode()
    def slabs(
        self,
        image: Tensor,
        *,
        heads: int | None = None,
        on_device: bool = False,
        progress: Progress | None = None,
    ) -> Iterator[Tensor]:
        """Yield the logits slab by slab along the first axis, without gap or overlap.

        Args:
            image: A preprocessed image (C, D, H, W), float32, on the CPU.
            heads: Logits of the network; None: as many as the model's labels need.
            on_device: Keep image and sums on the device, as nnU-Net does by default on a GPU; else on the CPU.
            progress: Called after each window with the number of windows done and of all.

        Yields:
            Logits (heads, d, H, W) of the next d slices, fp16, averaged over folds; their memory is used again for the
            next slab.

        Raises:
            UserError: A sum of logits does not fit fp16.
            RuntimeError: The GPU's memory is full (:func:`gpu_is_full`), or another error of the GPU.
        """
        place = self.device if on_device else torch.device("cpu")
        patch = tuple(self.model.configuration.patch_size)
        padded, inside = pad_nd_image(image, patch, "constant", {"value": 0}, True)
        padded = padded.to(place)
        folds = self.model.parameters
        if on_device and len(folds) > 1:
            folds = [{name: value.to(place) for name, value in fold.items()} for fold in folds]
        rows = _rows(padded.shape[1:], patch, self.step_size)
        depth = patch[0] if len(patch) == 3 else min(SLICES, padded.shape[1])
        heads = self.model.label_manager.num_segmentation_heads if heads is None else heads
        sums = _Sums(len(folds), (heads, depth, *padded.shape[2:]), patch, place)
        done, windows = 0, len(folds) * sum(len(row.windows) for row in rows)
        for row in rows:
            for number, fold in enumerate(folds):
                if len(folds) > 1:
                    self.model.use(fold)
                for window in row.windows:
                    sums.add(number, window, self._logits(padded[_in_image(window, row.start)]))
                    done += 1
                    if progress is not None:
                        progress(done, windows)
            slices = _overlap(inside[1], row.start, row.finished)
            mean = sums.finished(row.finished)[:, slices, inside[2], inside[3]]
            if mean.shape[1]:
                yield mean
            sums.shift(row.finished)

    def _logits(self, patch: Tensor) -> Tensor:
        """Return the logits of one window, averaged over mirrorings."""
        image = torch.clone(patch[None], memory_format=torch.contiguous_format).to(self.device)
        # for each window again: autocast keeps the fp16 copies of the weights, which the next fold replaces
        with torch.autocast("cuda") if self.device.type == "cuda" else contextlib.nullcontext():
            logits: Tensor = self.model.network(image)
            if self.mirroring_axes is not None:
                axes = [axis + 2 for axis in self.mirroring_axes]
                flips = [each for n in range(len(axes)) for each in itertools.combinations(axes, n + 1)]
                for flip in flips:
                    logits += torch.flip(self.model.network(torch.flip(image, flip)), flip)
                logits /= len(flips) + 1
        return logits[0]


def count_windows(shape: Sequence[int], patch: Sequence[int], step_size: float) -> int:
    """Return how many windows a fold predicts of a preprocessed image.

    Args:
        shape: D, H, W of the image.
        patch: Of the configuration; two numbers for a 2d one.
        step_size: Step of the window, in patches.

    Example:
        >>> count_windows((40, 40, 40), (32, 32, 32), 0.5)
        8
    """
    across = len(shape) - len(patch)  # axes that windows run along slice by slice
    padded = (*shape[:across], *map(max, shape[across:], patch))
    return sum(len(row.windows) for row in _rows(padded, tuple(patch), step_size))


class _Sums:
    """Sums of weighted logits over windows, of each fold, for some slices."""

    def __init__(self, folds: int, shape: tuple[int, ...], patch: tuple[int, ...], place: torch.device) -> None:
        self._place = place
        self._logits = torch.zeros((folds, *shape), dtype=torch.half, device=place)
        self._weights = torch.zeros(shape[1:], dtype=torch.half, device=place)  # the same for all folds
        self._gaussian = compute_gaussian(patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=place)

    def add(self, fold: int, window: Window, logits: Tensor) -> None:
        for total, head in zip(self._logits[fold], logits.to(self._place), strict=True):  # all at once would be copied
            head *= self._gaussian
            total[window] += head
        if fold == 0:
            self._weights[window] += self._gaussian

    def finished(self, slices: int) -> Tensor:
        """Return the average (heads, slices, H, W) of the first slices over windows, then folds; it replaces sums."""
        folds = self._logits[:, :, :slices]
        for fold in folds:
            torch.div(fold, self._weights[:slices], out=fold)
            if torch.stack([torch.isinf(head).any() for head in fold]).any():
                raise UserError(
                    "logits: expected finite sums, found some that are too large for 16 bits. Check the image's "
                    "intensities, and whether the training diverged."
                )
        mean = folds[0]
        for fold in folds[1:]:
            mean += fold
        if len(folds) > 1:
            # a tensor on the device: by a number, a GPU would multiply with its reciprocal, nnU-Net divides on the CPU
            mean /= torch.tensor(len(folds), dtype=torch.half, device=self._place)
        return mean

    def shift(self, slices: int) -> None:
        """Move the slices after the first ones to the start, in place."""
        if slices == 0:
            return
        depth = self._weights.shape[0]
        for start in range(slices, depth, slices):  # pieces that do not overlap with where they go
            end = min(start + slices, depth)
            self._logits[:, :, start - slices : end - slices] = self._logits[:, :, start:end]
            self._weights[start - slices : end - slices] = self._weights[start:end]
        self._logits[:, :, max(0, depth - slices) :] = 0
        self._weights[max(0, depth - slices) :] = 0


def _rows(size: tuple[int, ...], patch: tuple[int, ...], step_size: float) -> list[_Row]:
    """The windows in nnU-Net's order."""
    steps = compute_steps_for_sliding_window(size[-len(patch) :], patch, step_size)
    across: list[Any] = list(itertools.product(*map(_slices, steps[-2:], patch[-2:])))
    if len(patch) == 2:
        starts = range(0, size[0], SLICES)
        counts = [min(SLICES, size[0] - start) for start in starts]
        return [
            _Row(start, count, [(z, *place) for z in range(count) for place in across])
            for start, count in zip(starts, counts, strict=True)
        ]
    ends = [*steps[0][1:], size[0]]
    return [
        _Row(start, end - start, [(slice(0, patch[0]), *place) for place in across])
        for start, end in zip(steps[0], ends, strict=True)
    ]


def _slices(starts: list[int], length: int) -> list[slice]:
    return [slice(start, start + length) for start in starts]


def _in_image(window: Window, start: int) -> tuple[int | slice, ...]:
    first, *across = window
    moved = first + start if isinstance(first, int) else slice(first.start + start, first.stop + start)
    return (slice(None), moved, *across)


def _overlap(inside: slice, start: int, count: int) -> slice:
    """The part of ``count`` slices from ``start`` on that is not padding, relative to ``start``."""
    first = min(max(inside.start - start, 0), count)
    return slice(first, max(min(inside.stop - start, count), first))
