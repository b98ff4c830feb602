"""Logits on the image's grid, slice by slice, from logits that arrive in slabs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from nnunet_ext.resampling.axis_matrix import axis_matrix, coarse_axis_matrix
from nnunet_ext.resampling.corners import Corners, corners


@torch.inference_mode()
def image_slices(
    slabs: Iterable[Tensor],
    source: Sequence[int],
    target: Sequence[int],
    *,
    order: int = 1,
    separate_axis: int | None = None,
    order_z: int = 0,
) -> Iterator[Tensor]:
    """Resample logits linearly, as nnU-Net does before it exports, with two slices in memory.

    Args:
        slabs: Logits (heads, d, H, W) in slabs along the first axis; each is used before the next is asked for.
        source: D, H, W, the sum of all slabs.
        target: Shape (D', H', W') on the image's grid.
        order: As for :class:`~nnunet_ext.resampling.label_export.LabelExport`, like the next two.
        separate_axis: The axis of thick slices, if nnU-Net resamples it on its own.
        order_z: Of the interpolation along ``separate_axis``.

    Yields:
        D' slices (heads, H', W'), in the slabs' type.

    Raises:
        ValueError: There are more or fewer slices than the source has.

    Example:
        >>> logits = torch.tensor([1.0, 3.0]).reshape(1, 1, 1, 2)
        >>> [each.tolist() for each in image_slices([logits], (1, 1, 2), (1, 1, 4))]
        [[[[1.0, 1.5, 2.5, 3.0]]]]
    """
    first, rows, columns = (
        corners(
            (coarse_axis_matrix if axis == separate_axis else axis_matrix)(
                source[axis], target[axis], order_z if axis == separate_axis else order
            )
        )
        for axis in range(3)
    )
    lower, upper, weight = (each.tolist() for each in first)
    needed = {*lower, *upper}
    planes: dict[int, Tensor] = {}  # resampled within the slice
    index = written = 0
    for slab in slabs:
        for logits in slab.unbind(1):
            if index in needed:
                real = logits.to(torch.promote_types(logits.dtype, torch.float32))
                planes[index] = _resampled(_resampled(real, 1, rows), 2, columns)
            while written < len(upper) and upper[written] == index:
                below, above, part = planes[lower[written]], planes[index], weight[written]
                yield (below if part == 0 else torch.lerp(below, above, part)).to(slab.dtype)
                written += 1
            index += 1
            still = lower[written] if written < len(lower) else index
            planes = {number: plane for number, plane in planes.items() if number >= still}
    if index != source[0]:
        raise ValueError(f"expected {source[0]} slices of logits, found {index}")


def _resampled(plane: Tensor, axis: int, read: Corners) -> Tensor:
    lower, upper, weights = (torch.from_numpy(each).to(plane.device) for each in read)
    shape = [1, 1, 1]
    shape[axis] = -1
    weight = weights.to(plane.dtype).reshape(shape)
    return torch.lerp(plane.index_select(axis, lower), plane.index_select(axis, upper), weight)
