"""The label map of a prediction at the image's size with numpy alone, where torch is not installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.resampling.slab_export import CHUNK, MIXED, Plane, SlabExport

# float32 makes 1 - 2**-24 of exp(-logit) for smaller positive logits, 2 of 1 more, and a sigmoid of 0.5
SMALLEST_PAINTED = np.float32(1.5 * 2**-24)

Array = NDArray[Any]


class _Axis(NamedTuple):
    """What the rows or columns of a label map read: two voxels each, and the weight of the second."""

    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    weight: NDArray[np.floating]


class ArrayLabelExport(SlabExport[Array]):
    """Label map of logits that arrive in slabs along the first axis (D), like ``LabelExport``, but of numpy arrays.

    The labels are those of :class:`nnunet_ext.resampling.label_export.LabelExport`, whose arguments it has, and so
    those of nnU-Net's export.

    Args:
        source: Shape (D, H, W) of the logits.
        target: Integer array (D', H', W') that receives the labels, which may be a view.
        order: Of the interpolation, 0 or 1.
        separate_axis: The axis of thick slices (0, 1 or 2), or None.
        order_z: Of the interpolation along ``separate_axis``, 0 or 1.
        region_labels: The label of each region in the order of the heads; None if the heads are classes.

    Raises:
        ValueError: Another order, or shapes that are not three-dimensional.

    Example:
        >>> labels = np.zeros((1, 1, 4), dtype=np.uint8)
        >>> export = ArrayLabelExport((1, 1, 2), labels)
        >>> export.add(np.array([[1.0, 0.0], [0.0, 3.0]], np.float16).reshape(2, 1, 1, 2))
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
        self._rows, self._columns = (
            _Axis(lower, upper, weight.astype(np.float32)) for lower, upper, weight in self._in_plane
        )

    def add(self, slab: Array) -> None:
        """Take the next slices, and write all slices of the label map whose logits are complete.

        Args:
            slab: Logits (heads, d, H, W), float16 or float32. It may be overwritten after the call.

        Raises:
            ValueError: A slab of another shape or dtype than expected, or more slices than the source has.
        """
        self._check_shape(slab)
        if slab.dtype not in (np.float16, np.float32):
            raise ValueError(f"expected logits of float16 or float32, found {slab.dtype}")
        for index in range(slab.shape[1]):
            self._take(slab[:, index])
        self._planes = [plane._replace(logits=plane.logits.copy()) for plane in self._last_planes()]

    def _winners(self, logits: Array) -> Array:
        winners = np.zeros(logits.shape[1:], np.int32)
        if self._labels is not None:
            for region, values in enumerate(logits, start=1):
                winners[_painted(values)] = region
            return winners
        best = logits[0].astype(np.float32)
        for number, values in enumerate(logits[1:], start=1):
            values = values.astype(np.float32)
            better = ~(values <= best) & ~np.isnan(best)  # a NaN wins, as in nnU-Net
            winners[better] = number
            np.copyto(best, values, where=better)
        return winners

    def _slice(self, lower: Plane[Array], upper: Plane[Array], weight: float) -> Array:
        winners = _agreed(lower.winners, upper.winners)
        winners = _agreed(winners[self._rows.lower], winners[self._rows.upper])
        winners = _agreed(winners[:, self._columns.lower], winners[:, self._columns.upper])
        winners = np.ascontiguousarray(winners)
        flat = winners.reshape(-1)  # a view
        mixed = np.flatnonzero(flat == MIXED)
        chunk = max(1, CHUNK // len(lower.logits))
        for first in range(0, len(mixed), chunk):
            voxels = mixed[first : first + chunk]
            flat[voxels] = self._interpolated(lower.logits, upper.logits, weight, voxels)
        return winners

    def _interpolated(self, lower: Array, upper: Array, weight: float, voxels: NDArray[np.intp]) -> Array:
        """Winners of some voxels, given by their flat index in the output slice, from their interpolated logits."""
        row, column = np.divmod(voxels, len(self._columns.lower))
        left, right = self._columns.lower[column], self._columns.upper[column]
        above, below = self._rows.lower[row], self._rows.upper[row]

        def between(row: NDArray[np.intp], column: NDArray[np.intp]) -> Array:
            values = lower[:, row, column].astype(np.float32)  # (heads, voxels)
            return values if upper is lower else _between(values, upper[:, row, column].astype(np.float32), weight)

        of_column, of_row = self._columns.weight[column], self._rows.weight[row]
        upper_row = _between(between(above, left), between(above, right), of_column)
        lower_row = _between(between(below, left), between(below, right), of_column)
        values = _between(upper_row, lower_row, of_row).astype(lower.dtype)
        if self._labels is None:
            return np.asarray(values.astype(np.float32).argmax(0))
        regions = np.arange(1, len(self._labels))[:, None]
        return np.asarray((_painted(values) * regions).max(0))


def _agreed(first: Array, second: Array) -> Array:
    return np.where(first == second, first, MIXED)


def _between(first: Array, second: Array, weight: Array | float) -> Array:
    """Interpolate in place of ``first``; ``weight`` is that of ``second``."""
    first *= 1 - weight
    second *= weight
    first += second
    return first


def _painted(logits: Array) -> NDArray[np.bool_]:
    """Whether nnU-Net paints a region: where torch's sigmoid in float32 is above 0.5."""
    return np.asarray(logits.astype(np.float32) > SMALLEST_PAINTED)
