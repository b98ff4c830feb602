"""nnU-Net's sliding window with onnxruntime: logits slab by slab, with its steps, weights, mirrorings and fp16 sums."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from nnunet_ext.errors import UserError, one_line
from nnunet_ext.onnx_runner.model_description import ModelDescription

SLICES = 16  # of an image that a 2d configuration predicts before the slab is given away
Progress = Callable[[int, int], None]


class Window(NamedTuple):
    """Where a window is: its first slice (or its only one, of a 2d configuration), and what it covers of it."""

    start: int
    depth: slice | int
    rows: slice
    columns: slice


class SlidingWindow:
    """Predicts preprocessed images with the exported networks of a model.

    Args:
        networks: File of each fold.
        model: The description of the model.
        step_size: Step of the window, in patches: above 0, at most 1.
        mirroring: Average over the mirrorings that the training used.
        threads: Of onnxruntime; None: as many as there are cores.

    Raises:
        UserError: The step is out of range, or a file is no network that onnxruntime runs.
    """

    def __init__(
        self,
        networks: Sequence[Path],
        model: ModelDescription,
        *,
        step_size: float,
        mirroring: bool = True,
        threads: int | None = None,
    ) -> None:
        if not 0 < step_size <= 1:
            raise UserError(f"step_size: expected a number above 0 and at most 1, got {step_size!r}. Correct it.")
        self._model = model
        self._step_size = step_size
        self._flips = _flips(model.mirroring_axes if mirroring else None)
        self._networks = [_session(file, threads) for file in networks]
        self._gaussian = gaussian(model.patch_size, model.gaussian_sigma, model.gaussian_peak)

    def slabs(self, image: NDArray[np.float32], progress: Progress | None = None) -> Iterator[NDArray[np.float16]]:
        """Yield the logits slab by slab along the first axis, without gap or overlap.

        Args:
            image: A preprocessed image (C, D, H, W).
            progress: Called after each window with the number of windows done and of all.

        Yields:
            Logits (heads, d, H, W) of the next d slices, fp16, averaged over folds; their memory is used again for the
            next slab.

        Raises:
            UserError: A sum of logits does not fit fp16.
        """
        patch = self._model.patch_size
        padded, inside = _padded(image, patch)
        rows = window_rows(padded.shape[1:], patch, self._step_size)
        depth = patch[0] if len(patch) == 3 else min(SLICES, padded.shape[1])
        sums = _Sums(len(self._networks), (self._model.heads, depth, *padded.shape[2:]), self._gaussian)
        done, windows = 0, sum(len(row) for row, _ in rows) * len(self._networks)
        for row, finished in rows:
            start = row[0].start
            for number, network in enumerate(self._networks):
                for window in row:
                    sums.add(number, window, self._logits(network, padded[in_image(window)]))
                    done += 1
                    if progress is not None:
                        progress(done, windows)
            first = min(max(inside[0].start - start, 0), finished)
            last = max(min(inside[0].stop - start, finished), first)
            mean = sums.mean(finished)[:, first:last, inside[1], inside[2]]
            if mean.shape[1]:
                yield mean
            sums.shift(finished)

    def _logits(self, network: onnxruntime.InferenceSession, patch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of one window (heads, ...), averaged over mirrorings."""
        total: NDArray[np.float32] = _run(network, patch)
        for axes in self._flips:
            total += np.flip(_run(network, np.flip(patch, axes)), axes)
        if self._flips:
            total /= len(self._flips) + 1
        return total


class _Sums:
    """Sums of weighted logits over windows, of each fold, for some slices; rounded to fp16 where nnU-Net rounds."""

    def __init__(self, folds: int, shape: tuple[int, ...], weights: NDArray[np.float16]) -> None:
        self._logits = np.zeros((folds, *shape), np.float16)
        self._weights = np.zeros(shape[1:], np.float16)  # the same for all folds
        self._gaussian, self._gaussian_32 = weights, weights.astype(np.float32)

    def add(self, fold: int, window: Window, logits: NDArray[np.float32]) -> None:
        place = window[1:]
        for total, head in zip(self._logits[fold], logits, strict=True):  # all at once would be copied
            head *= self._gaussian_32
            total[place] += head
        if fold == 0:
            self._weights[place] += self._gaussian

    def mean(self, slices: int) -> NDArray[np.float16]:
        """Return the average (heads, slices, H, W) of the first slices over windows, then folds; it replaces sums."""
        folds = self._logits[:, :, :slices]
        for fold in folds:
            fold /= self._weights[:slices]
            if any(np.isinf(head).any() for head in fold):
                raise UserError(
                    "logits: expected finite sums, found some that are too large for 16 bits. Check the image's "
                    "intensities, and whether the training diverged."
                )
        average: NDArray[np.float16] = folds[0]
        for fold in folds[1:]:
            average += fold
        if len(folds) > 1:
            average /= np.float16(len(folds))
        return average

    def shift(self, slices: int) -> None:
        """Move the slices after the first ones to the start."""
        for sums in (*self._logits, self._weights[None]):
            for total in sums:
                rest = len(total) - slices
                total[:rest] = total[slices:].copy()
                total[rest:] = 0


def gaussian(patch: Sequence[int], sigma: float, peak: float) -> NDArray[np.float16]:
    """Return the weights of a window as nnU-Net computes them: a Gaussian in fp16, nowhere 0.

    Args:
        patch: (D, H, W) or (H, W).
        sigma: Of the Gaussian, in patches.
        peak: The largest weight.
    """
    weights = np.ones(())
    for length in patch:
        impulse = np.zeros(length)
        impulse[length // 2] = 1
        weights = weights[..., None] * gaussian_filter1d(impulse, length * sigma, mode="constant")
    weights /= weights.max() / peak
    rounded = weights.astype(np.float16)
    rounded[rounded == 0] = rounded[rounded != 0].min()
    return rounded


def window_starts(size: int, patch: int, step_size: float) -> list[int]:
    """Return where the windows start along an axis, as nnU-Net places them: at equal distances up to the end.

    Args:
        size: Voxels of the image, at least as many as the patch has.
        patch: Voxels of a window.
        step_size: Largest distance, in patches.

    Example:
        >>> window_starts(110, 64, 0.5)
        [0, 23, 46]
    """
    count = math.ceil((size - patch) / (patch * step_size)) + 1
    distance = (size - patch) / (count - 1) if count > 1 else 0.0
    return [int(np.round(distance * number)) for number in range(count)]


def window_rows(size: Sequence[int], patch: Sequence[int], step_size: float) -> list[tuple[list[Window], int]]:
    """Return the windows in nnU-Net's order, in rows with the same place along the first axis.

    Args:
        size: (D, H, W) of the image, at least a patch.
        patch: (D, H, W), or (H, W) for a 2d configuration.
        step_size: Largest distance of windows, in patches.

    Returns:
        For each row its windows, and how many slices from its start on no later row touches. Of a 2d configuration, a
        row is the windows of several slices.
    """
    starts = [window_starts(*pair, step_size) for pair in zip(size[-len(patch) :], patch, strict=True)]
    across = list(itertools.product(*(map(_slice(length), begin) for begin, length in zip(starts, patch, strict=True))))
    if len(patch) == 2:
        made = []
        for start in range(0, size[0], SLICES):
            count = min(SLICES, size[0] - start)
            made.append(([Window(start, z, *place) for z in range(count) for place in across], count))
        return made
    ends = [*starts[0][1:], size[0]]
    found = []
    for start, end in zip(starts[0], ends, strict=True):
        row = [Window(start, slice(0, patch[0]), *place[1:]) for place in across if place[0].start == start]
        found.append((row, end - start))
    return found


def in_image(window: Window) -> tuple[slice | int, ...]:
    """Return where a window is in an image (C, D, H, W)."""
    start, depth, rows, columns = window
    moved = start + depth if isinstance(depth, int) else slice(start + depth.start, start + depth.stop)
    return slice(None), moved, rows, columns


def _slice(length: int) -> Callable[[int], slice]:
    return lambda start: slice(start, start + length)


def _flips(axes: Sequence[int] | None) -> list[tuple[int, ...]]:
    """All ways to mirror a patch (C, ...) but the one that does nothing."""
    moved = [axis + 1 for axis in axes or ()]
    return [flip for count in range(1, len(moved) + 1) for flip in itertools.combinations(moved, count)]


def _padded(image: NDArray[np.float32], patch: Sequence[int]) -> tuple[NDArray[np.float32], tuple[slice, ...]]:
    """Pad (C, D, H, W) with zeros to at least a patch, half of them before; return also where the image is in it."""
    sizes = image.shape[1:]
    missing = [max(length - size, 0) for length, size in zip((0, *patch)[-3:], sizes, strict=True)]
    before = [count // 2 for count in missing]
    inside = tuple(slice(start, start + size) for start, size in zip(before, sizes, strict=True))
    margins = [(start, count - start) for start, count in zip(before, missing, strict=True)]
    return (np.pad(image, [(0, 0), *margins]) if any(missing) else image), inside


def _session(file: Path, threads: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the classes of onnxruntime's errors have no common base of their own
        raise UserError(
            f"{file}: expected a network that onnxruntime {onnxruntime.__version__} runs, got {one_line(error)}. "
            f"Install a newer onnxruntime, or export the model again."
        ) from error


def _run(network: onnxruntime.InferenceSession, patch: NDArray[np.float32]) -> NDArray[np.float32]:
    (logits,) = network.run(None, {"image": np.ascontiguousarray(patch[None])})
    found: NDArray[np.float32] = logits[0]
    return found
