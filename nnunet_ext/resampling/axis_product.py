"""Resamples images by the bands of one matrix for each axis: the weights of a spline decay fast."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from nnunet_ext.resampling.matrix_bands import matrix_bands, nearest_voxels

CHUNK = 1024  # lines that are resampled at a time, so that they stay in the processor's cache
NAMES = {torch.float32: "float32", torch.float64: "float64"}

Band = tuple[slice, slice, Tensor]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: to share such small products costs many times what they take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def grid_product(data: Tensor, sizes: Sequence[int], order: int) -> Tensor:
    """Return an image, resampled along all axes that change, without clipping.

    Args:
        data: (D, H, W), float32 or float64.
        sizes: (D, H, W) of the result.
        order: Of the spline, 0 to 5.

    Returns:
        (D, H, W); same dtype and device. The input itself if no axis changes.
    """
    if sizes[0] < len(data):  # D first if it shrinks: less is left to do
        data = axis_product(data, 0, sizes[0], order)
    if list(data.shape[1:]) != list(sizes[1:]):
        planes = data.new_empty((len(data), *sizes[1:]))
        axes = sorted((0, 1), key=lambda axis: sizes[1 + axis] / data.shape[1 + axis])
        for plane, place in zip(data, planes, strict=True):  # both axes of a plane at once: it stays in the cache
            for axis in axes:
                plane = axis_product(plane, axis, sizes[1 + axis], order)
            place.copy_(plane)
        data = planes
    return axis_product(data, 0, sizes[0], order)


def axis_product(data: Tensor, axis: int, target: int, order: int, *, coarse: bool = False) -> Tensor:
    """Return an image, resampled along one axis.

    Args:
        data: (D, H, W) or any other number of axes, float32 or float64.
        axis: To resample.
        target: Voxels along it afterwards.
        order: Of the spline, 0 to 5.
        coarse: Place the samples as nnU-Net does along the axis of thick slices (``coarse_axis_matrix``).

    Returns:
        Same dtype and device; the input itself if the axis has ``target`` voxels already.
    """
    source = data.shape[axis]
    if source == target:
        return data
    if order == 0:
        return data.index_select(axis, _nearest(source, target, coarse).to(data.device))
    before, after = math.prod(data.shape[:axis]), math.prod(data.shape[axis + 1 :])
    result = data.new_empty((*data.shape[:axis], target, *data.shape[axis + 1 :]))
    given, made = data.contiguous().view(before, source, after), result.view(before, target, after)
    parts = [
        (rows, columns, weights.to(data)) for rows, columns, weights in bands(source, target, order, coarse, data.dtype)
    ]
    for start in range(0, before if after == 1 else after, CHUNK):
        chunk = slice(start, start + CHUNK)
        for rows, columns, weights in parts:
            if after == 1:
                torch.mm(given[chunk, columns, 0], weights.T, out=made[chunk, rows, 0])
            else:
                for index in range(before):
                    torch.mm(weights, given[index, columns, chunk], out=made[index, rows, chunk])
    return result


@lru_cache(maxsize=64)
def bands(source: int, target: int, order: int, coarse: bool, dtype: torch.dtype) -> tuple[Band, ...]:
    """Return the parts of a resampling matrix that matter, in blocks of rows.

    Args:
        source: Voxels along the axis.
        target: Voxels along the resampled axis.
        order: Of the spline, 0 to 5.
        coarse: As in :func:`axis_product`.
        dtype: Of the image.

    Returns:
        For each block: its rows, the columns from the first to the last whose weight is not negligible, and the weights
        (rows, columns).
    """
    found = matrix_bands(source, target, order, coarse, NAMES[dtype])
    return tuple((rows, columns, torch.tensor(weights).to(dtype)) for rows, columns, weights in found)


@lru_cache(maxsize=64)
def _nearest(source: int, target: int, coarse: bool) -> Tensor:
    return torch.tensor(nearest_voxels(source, target, coarse))
