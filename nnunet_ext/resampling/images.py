"""Images resampled with nnU-Net's results: a small matrix product for each axis, not 64 taps for each voxel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_ext.errors import UserError
from nnunet_ext.resampling.arguments import check_arguments, readable
from nnunet_ext.resampling.axis_product import axis_product, grid_product, one_thread

Array = TypeVar("Array", NDArray[np.generic], Tensor)


def resample_images(
    images: Array, shape: Sequence[int], *, order: int = 3, separate_axis: int | None = None, order_z: int = 0
) -> Array:
    """Return images, resampled as nnU-Net's ``resample_data_or_seg(is_seg=False)`` does.

    The largest difference is 5e-6 of a channel's range, plus the rounding of the dtype. If a channel (with
    ``separate_axis``: a slice) holds a NaN, then with ``order`` 2 and more all of it gets NaN, as in nnU-Net; with
    ``order`` 1, it spreads to other neighbours than there.

    Args:
        images: (C, D, H, W). float16 and float32 are resampled in float32, all other dtypes in float64. Results for
            integers are cut off (2.9 becomes 2), as nnU-Net does it.
        shape: (D, H, W) of the result.
        order: Of the spline, 0 to 5.
        separate_axis: Axis of thick slices, 0, 1 or 2 (D, H or W): each slice is resampled for itself, and then the
            axis with ``order_z``. None: there is none.
        order_z: Order of the spline along ``separate_axis``.

    Returns:
        (C, D, H, W) of the new shape; numpy or torch, dtype and device as given. The input itself if the shape is the
        same.

    Raises:
        UserError: The sizes do not fit, or the images have no voxels.

    Example:
        >>> image = np.array([0.0, 1.0, 2.0, 3.0]).reshape(1, 1, 1, 4)
        >>> resample_images(image, (1, 1, 2), order=1).tolist()
        [[[[0.5, 2.5]]]]
    """
    check_arguments("resample_images", images.shape, shape, separate_axis)
    sizes: list[int] = [int(size) for size in shape]
    if list(images.shape[1:]) == sizes:
        return images
    if 0 in images.shape[1:] and 0 not in sizes:
        raise UserError(
            f"resample_images: expected voxels along each axis, got shape {tuple(images.shape)}; leave out this image"
        )
    if isinstance(images, Tensor):
        precise = not images.is_floating_point() or images.dtype == torch.float64
        given = (channel.to(torch.float64 if precise else torch.float32) for channel in images.detach())
        made = (_resampled(channel, sizes, order, separate_axis, order_z) for channel in given)
        if len(images) == 1:  # no copy
            return next(made)[None].to(images.dtype)
        tensor = images.new_empty((len(images), *sizes))
        for place, result in zip(tensor, made, strict=True):
            place.copy_(result)
        return tensor
    kind = np.float32 if images.dtype.kind == "f" and images.dtype.itemsize <= 4 else np.float64
    usable = (readable(channel, kind) for channel in images)
    made = (_resampled(torch.from_numpy(channel), sizes, order, separate_axis, order_z) for channel in usable)
    if len(images) == 1:
        return next(made).numpy()[None].astype(images.dtype, copy=False)
    array = np.empty((len(images), *sizes), images.dtype)
    for index, result in enumerate(made):
        array[index] = result.numpy()
    return array


@one_thread()
def _resampled(channel: Tensor, sizes: list[int], order: int, separate_axis: int | None, order_z: int) -> Tensor:
    """Resample one channel (D, H, W) and leave it as it is."""
    if 0 in sizes:
        return channel.new_empty(sizes)
    within = [axis for axis in range(3) if axis != separate_axis]
    lowest, highest = _range(channel, within, order)
    middle = _middle(lowest, highest)
    if middle:
        channel, lowest, highest = channel - middle, lowest - middle, highest - middle
    in_plane = [channel.shape[axis] if axis == separate_axis else sizes[axis] for axis in range(3)]
    if list(channel.shape) != in_plane:
        channel = grid_product(channel, in_plane, order).clamp_(lowest, highest)
    if separate_axis is not None:
        channel = axis_product(channel, separate_axis, sizes[separate_axis], order_z, coarse=True)
    return channel + middle if middle else channel


def _range(channel: Tensor, within: list[int], order: int) -> tuple[Tensor, Tensor]:
    """Return what scikit-image clips to, for the channel or for each slice of it.

    With a NaN, that is the range of the other values. Splines of order 2 and more have spread it everywhere by then;
    clipping to a range of NaN does the same.
    """
    lowest, highest = _extremes(channel, within)
    if order < 2 and lowest.isnan().any():
        missing = channel.isnan()
        lowest, _ = _extremes(channel.masked_fill(missing, math.inf), within)
        _, highest = _extremes(channel.masked_fill(missing, -math.inf), within)
    return lowest, highest


def _middle(lowest: Tensor, highest: Tensor) -> float:
    """Return the middle of the range if it is so far from 0 that sums of float32 would lose digits, else 0."""
    low, high = float(lowest.min()), float(highest.max())
    middle = low / 2 + high / 2
    return float(lowest.new_tensor(middle)) if abs(middle) > high - low else 0.0


def _extremes(channel: Tensor, within: list[int]) -> tuple[Tensor, Tensor]:
    """Return minimum and maximum over the axes ``within``, which stay as axes of length 1."""
    if len(within) == channel.ndim:
        lowest, highest = channel.aminmax()  # one pass over the voxels instead of two
        return lowest.view(1, 1, 1), highest.view(1, 1, 1)
    return channel.amin(within, keepdim=True), channel.amax(within, keepdim=True)
