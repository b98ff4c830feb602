"""Label maps resampled with nnU-Net's results: sums of weights are taken only where labels meet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_ext.resampling.arguments import check_arguments
from nnunet_ext.resampling.axis_matrix import axis_matrix, coarse_axis_matrix
from nnunet_ext.resampling.axis_product import bands, grid_product, one_thread
from nnunet_ext.resampling.corners import corners

TIED = 1e-9  # sums of weights that differ by less are equal but for rounding
Labels = NDArray[Any]
Array = TypeVar("Array", Labels, Tensor)


def resample_label_maps(
    labels: Array, shape: Sequence[int], *, order: int = 1, separate_axis: int | None = None, order_z: int = 0
) -> Array:
    """Return label maps, resampled as nnU-Net's ``resample_data_or_seg(is_seg=True)`` does.

    Each label's mask is interpolated, and the largest value wins. A tie goes to the label of the nearest voxel if it is
    tied, else to the smallest tied label. nnU-Net decides ties so too, unless its rounding decides them: results differ
    in no other voxels.

    Args:
        labels: (C, D, H, W) of any integer dtype, or floating point that holds integers.
        shape: (D, H, W) of the result.
        order: Of the spline, 0 to 5.
        separate_axis: Axis of thick slices, 0, 1 or 2 (D, H or W): each slice is resampled for itself, and then the
            axis with ``order_z``. None: there is none.
        order_z: Order of the spline along ``separate_axis``. With 1 and more, voxels where no label has more than half
            get 0, as in nnU-Net.

    Returns:
        (C, D, H, W) of the new shape; numpy or torch, dtype and device as given. The input itself if the shape is the
        same; zeros if it has no voxels.

    Raises:
        UserError: The sizes do not fit.

    Example:
        >>> labels = np.array([0, 0, 7, 7]).reshape(1, 1, 1, 4)
        >>> resample_label_maps(labels, (1, 1, 6)).tolist()
        [[[[0, 0, 0, 7, 7, 7]]]]
    """
    check_arguments("resample_label_maps", labels.shape, shape, separate_axis)
    sizes: list[int] = [int(size) for size in shape]
    if list(labels.shape[1:]) == sizes:
        return labels
    given: Labels = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else labels
    result = np.zeros((len(given), *sizes), given.dtype)
    if result.size and given.size:
        for channel, place in zip(given, result, strict=True):
            if separate_axis is None:
                _resample_volume(channel, place, order)
            else:
                slices, places = np.moveaxis(channel, separate_axis, 0), np.moveaxis(place, separate_axis, 0)
                _resample_slices(slices, places, order, order_z)
    if isinstance(labels, Tensor):
        return torch.from_numpy(result).to(labels.device)
    return result


class _Axis(NamedTuple):
    """What each output index reads along one axis."""

    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    weight: NDArray[np.float64]  # of the upper one
    nearest: NDArray[np.intp]


class _Plane(NamedTuple):
    """A plane of the input (H, W) and, for each place in a plane of the output, its first corner in it."""

    labels: Labels
    first: Labels
    alike: NDArray[np.bool_]  # all four corners have the label of the first


@lru_cache(maxsize=64)
def _axis(source: int, target: int) -> _Axis:
    nearest = axis_matrix(source, target, 0).argmax(1)
    return _Axis(*corners(axis_matrix(source, target, 1)), nearest)


def _plane(labels: Labels, rows: _Axis, columns: _Axis) -> _Plane:
    left, right = labels[:, columns.lower], labels[:, columns.upper]
    alike = left == right
    first = left[rows.lower]
    return _Plane(labels, first, alike[rows.lower] & alike[rows.upper] & (first == left[rows.upper]))


def _resample_volume(labels: Labels, result: Labels, order: int) -> None:
    """Fill ``result`` (D, H, W), one plane at a time."""
    if order > 1:
        _resample_by_masks(labels, result, order)
        return
    depth, rows, columns = (_axis(*sizes) for sizes in zip(labels.shape, result.shape, strict=True))
    planes: dict[int, _Plane] = {}
    for index, place in enumerate(result):
        lower, upper, nearest = depth.lower[index], depth.upper[index], labels[depth.nearest[index]]
        if order == 0:
            place[:] = nearest[np.ix_(rows.nearest, columns.nearest)]
            continue
        planes = {here: planes.get(here) or _plane(labels[here], rows, columns) for here in (lower, upper)}
        weight = depth.weight[index]
        read = [(planes[lower], 1 - weight), (planes[upper], weight)] if upper > lower else [(planes[lower], 1.0)]
        _fill(place, read, nearest, rows, columns)


def _resample_slices(labels: Labels, result: Labels, order: int, order_z: int) -> None:
    """Fill ``result`` (D, H, W), where D is the axis of thick slices."""
    source, target = len(labels), len(result)
    if order_z == 0 or source == target:
        chosen = coarse_axis_matrix(source, target, 0).argmax(1)
        for index, here in enumerate(chosen):
            if index and here == chosen[index - 1]:
                result[index] = result[index - 1]
            else:
                _resample_volume(labels[here : here + 1], result[index : index + 1], order)
        return
    within = np.empty((source, *result.shape[1:]), labels.dtype)
    for index in range(source):
        _resample_volume(labels[index : index + 1], within[index : index + 1], order)
    matrix = coarse_axis_matrix(source, target, order_z)
    for row in range(result.shape[1]):
        for label in np.unique(within[:, row]):
            result[:, row][matrix @ (within[:, row] == label) > 0.5] = label


def _fill(place: Labels, read: list[tuple[_Plane, float]], nearest: Labels, rows: _Axis, columns: _Axis) -> None:
    """Fill a plane of the output from the one or two planes (and their weights) of the input that it reads."""
    first = read[0][0].first
    alike = np.logical_and.reduce([plane.alike & (plane.first == first) for plane, _ in read])
    place[:] = first
    row, column = np.nonzero(~alike)
    if not len(row):
        return
    values, weights = [], []
    for plane, share in read:
        for i, in_row in ((rows.lower, 1 - rows.weight), (rows.upper, rows.weight)):
            for j, in_column in ((columns.lower, 1 - columns.weight), (columns.upper, columns.weight)):
                values.append(plane.labels[i[row], j[column]])
                weights.append(share * in_row[row] * in_column[column])
    near = nearest[rows.nearest[row], columns.nearest[column]]
    place[row, column] = _heaviest(np.array(values), np.array(weights), near)


def _heaviest(values: Labels, weights: NDArray[np.float64], nearest: Labels) -> Labels:
    """Return the value (corners, N) with the largest sum of weights for each of N voxels; ``nearest`` (N) wins ties."""
    sums = weights.copy()  # complete at the first corner of each value, which is enough
    for one in range(len(values)):
        for other in range(one + 1, len(values)):
            sums[one] += weights[other] * (values[one] == values[other])
    tied = sums >= sums.max(0) - TIED
    smallest: Labels = values.min(0, where=tied, initial=values.max())
    return np.where((tied & (values == nearest)).any(0), nearest, smallest)


@one_thread()
def _resample_by_masks(labels: Labels, result: Labels, order: int) -> None:
    """Fill ``result`` (D, H, W), a few planes at a time, for splines that read all voxels around."""
    source, target = len(labels), len(result)
    row, column = (axis_matrix(*sizes, 0).argmax(1) for sizes in zip(labels.shape[1:], result.shape[1:], strict=True))
    near = axis_matrix(source, target, 0).argmax(1)
    for made, columns, weights in bands(source, target, order, False, torch.float64):
        slab = labels[columns]
        nearest = labels[np.ix_(near[made], row, column)]
        best = np.full(nearest.shape, -1.0)
        winner, holds = nearest.copy(), np.zeros(nearest.shape, bool)
        for label in np.unique(slab):
            mask = torch.from_numpy((slab == label).astype(np.float64))
            planes = grid_product(mask, [len(mask), *result.shape[1:]], order)
            score = torch.tensordot(weights, planes, 1).clamp_(0, 1).numpy()
            better, tied = score > best + TIED, abs(score - best) <= TIED
            here = nearest == label
            holds = np.where(better, here, holds | (tied & here))
            winner[better] = label
            np.maximum(best, score, out=best)
        result[made] = np.where(holds, nearest, winner)
