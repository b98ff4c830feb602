"""The label map of a prediction at the image's size, from logits that arrive in slabs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_ext.resampling.slab_export import CHUNK, MIXED, Corners, Plane, SlabExport


class _Axis(NamedTuple):
    """What the rows or columns of a label map read: two voxels each, and the weight of the second."""

    lower: Tensor
    upper: Tensor
    weight: Tensor

    @classmethod
    def of(cls, read: Corners) -> _Axis:
        return cls(*map(torch.from_numpy, read))


class LabelExport(SlabExport[Tensor]):
    """Label map of logits that arrive in slabs along the first axis (D).

    The labels are those of nnU-Net's export: logits are resampled linearly and rounded to their own type, and the first
    of the largest wins. Regions with a sigmoid above 0.5 are painted, later ones over earlier ones. Since linear
    interpolation is a convex combination, a class that wins at all voxels that an output voxel reads wins there too, so
    only output voxels that read different winners are interpolated. Of the logits, at most two slices are in use at a
    time: the last one of the previous slab (a copy) and one of the current slab.

    Labels differ from nnU-Net's only where two logits (or the logit of a region and 0) are so near to each other that
    rounding decides: nnU-Net sums in float64, this in float32 (float64 for float64 logits). Logits should be finite. A
    NaN wins over all numbers, as in nnU-Net, but how far NaN and infinity spread to other voxels can differ.

    Args:
        source: Shape (D, H, W) of the logits.
        target: Integer array (D', H', W') that receives the labels, which may be a view, such as the crop of an image.
        order: Of the interpolation, 0 or 1; nnU-Net's default for logits is 1.
        separate_axis: The axis of thick slices (0, 1 or 2), which nnU-Net resamples on its own ("separate z"); or None.
        order_z: Of the interpolation along ``separate_axis``, 0 or 1.
        region_labels: The label of each region in the order of the heads (nnU-Net's ``regions_class_order``); None if
            the heads are classes, whose labels are 0, 1, 2, ...

    Raises:
        ValueError: Another order, or shapes that are not three-dimensional.

    Example:
        >>> labels = np.zeros((1, 1, 4), dtype=np.uint8)
        >>> export = LabelExport((1, 1, 2), labels)
        >>> export.add(torch.tensor([[1.0, 0.0], [0.0, 3.0]]).reshape(2, 1, 1, 2))
        >>> export.finish()
        >>> labels.tolist()
        [[[0, 0, 1, 1]]]
    """

    def __init__(
        self,
        source: Sequence[int],
        target: NDArray[np.integer],
        *,
        order: int = 1,
        separate_axis: int | None = None,
        order_z: int = 0,
        region_labels: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            source, target, order=order, separate_axis=separate_axis, order_z=order_z, region_labels=region_labels
        )
        self._rows, self._columns = map(_Axis.of, self._in_plane)
        self._kind: tuple[int, torch.dtype, torch.device] | None = None

    @torch.inference_mode()
    def add(self, slab: Tensor) -> None:
        """Take the next slices, and write all slices of the label map whose logits are complete.

        Args:
            slab: Logits (heads, d, H, W) of any floating type, on any device. It may be overwritten after the call.

        Raises:
            ValueError: A slab of another shape, type or device than expected, or more slices than the source has.
        """
        self._check(slab)
        for logits in slab.unbind(1):
            self._take(logits)
        self._planes = [plane._replace(logits=plane.logits.clone()) for plane in self._last_planes()]

    def _check(self, slab: Tensor) -> None:
        self._check_shape(slab)
        if not slab.is_floating_point():
            raise ValueError(f"expected logits of a floating type, found {slab.dtype}")
        kind = (slab.shape[0], slab.dtype, slab.device)
        if self._kind is None:
            self._kind = kind
            real = torch.promote_types(slab.dtype, torch.float32)
            self._rows, self._columns = (
                _Axis(axis.lower.to(slab.device), axis.upper.to(slab.device), axis.weight.to(slab.device, real))
                for axis in (self._rows, self._columns)
            )
        elif kind != self._kind:
            raise ValueError(f"expected heads, type and device of the first slab {self._kind}, found {kind}")

    def _winners(self, logits: Tensor) -> Tensor:
        if self._labels is None:
            return logits.max(0).indices.int()
        winners = torch.zeros(logits.shape[1:], dtype=torch.int32, device=logits.device)
        for region, values in enumerate(logits, start=1):
            winners.masked_fill_(_painted(values), region)
        return winners

    def _slice(self, lower: Plane[Tensor], upper: Plane[Tensor], weight: float) -> NDArray[Any]:
        winners = _agreed(lower.winners, upper.winners)
        winners = _agreed(winners[self._rows.lower], winners[self._rows.upper])
        winners = _agreed(winners.index_select(1, self._columns.lower), winners.index_select(1, self._columns.upper))
        flat = winners.flatten()
        mixed = (flat == MIXED).nonzero().squeeze(1)
        chunk = max(1, CHUNK // len(lower.logits))
        for first in range(0, len(mixed), chunk):
            voxels = mixed[first : first + chunk]
            flat[voxels] = self._interpolated(lower.logits, upper.logits, weight, voxels)
        return np.asarray(flat.view_as(winners).cpu().numpy())

    def _interpolated(self, lower: Tensor, upper: Tensor, weight: float, voxels: Tensor) -> Tensor:
        """Winners of some voxels, given by their flat index in the output slice, from their interpolated logits."""
        width, out_width = lower.shape[2], len(self._columns.lower)
        row, column = voxels // out_width, voxels % out_width
        left, right = self._columns.lower[column], self._columns.upper[column]
        above, below = self._rows.lower[row] * width, self._rows.upper[row] * width
        needed = torch.zeros(lower[0].numel(), dtype=torch.bool, device=lower.device)
        for corner in (above + left, above + right, below + left, below + right):
            needed[corner] = True
        places = needed.nonzero().squeeze(1)
        position = needed.cumsum(0) - 1

        real = self._columns.weight.dtype
        values = lower.flatten(1).index_select(1, places).to(real)
        if upper is not lower:
            values = _between(values, upper.flatten(1).index_select(1, places).to(real), weight)
        values = values.t().contiguous()  # (places, heads): gathering and comparing the heads of a voxel is fast

        def beside(line: Tensor) -> Tensor:
            first, second = (values.index_select(0, position[line + side]) for side in (left, right))
            return _between(first, second, self._columns.weight[column, None])

        values = _between(beside(above), beside(below), self._rows.weight[row, None]).to(lower.dtype)
        if self._labels is None:
            return values.to(real).argmax(1).int()
        regions = torch.arange(1, len(self._labels), dtype=torch.int32, device=values.device)
        return (_painted(values) * regions).amax(1)


def _agreed(first: Tensor, second: Tensor) -> Tensor:
    return torch.where(first == second, first, MIXED)


def _between(first: Tensor, second: Tensor, weight: Tensor | float) -> Tensor:
    """Interpolate in place of ``first``; ``weight`` is that of ``second``."""
    return first.mul_(1 - weight).add_(second.mul_(weight))


def _painted(logits: Tensor) -> Tensor:
    """Whether nnU-Net paints a region; not ``logits > 0``, since float32 makes 0.5 of the smallest positive logits."""
    return torch.sigmoid(logits.float()) > 0.5
