"""What label maps of logits that arrive in slabs have in common, whether torch or numpy holds the logits."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.resampling.axis_matrix import axis_matrix, coarse_axis_matrix
from nnunet_ext.resampling.corners import Corners, corners

MIXED = -1  # the winner of an output voxel that reads several
CHUNK = 1 << 19  # logits that are interpolated at once: memory stays small, and in the processor's cache

Values = TypeVar("Values")


class Shaped(Protocol):
    """An array of numpy or of torch."""

    @property
    def ndim(self) -> int:
        """Number of axes."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        ...


class Plane(NamedTuple, Generic[Values]):
    """A slice on the network's grid: logits (heads, H, W) and the winner of each voxel (H, W)."""

    logits: Values
    winners: Values


class SlabExport(abc.ABC, Generic[Values]):
    """Label map of logits that arrive in slabs along the first axis (D); see :class:`LabelExport`, the one of torch.

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
        if len(source) != 3 or target.ndim != 3 or 0 in (*source, *target.shape):
            raise ValueError(f"expected shapes (D, H, W) without 0, found {tuple(source)} and {target.shape}")
        if separate_axis not in (None, 0, 1, 2):
            raise ValueError(f"separate_axis: expected None, 0, 1 or 2, found {separate_axis}")
        orders = [order_z if axis == separate_axis else order for axis in range(3)]
        if not {*orders, order} <= {0, 1}:
            raise ValueError(
                f"expected order and order_z 0 or 1, found {order} and {order_z}: use nnU-Net's own export"
            )
        matrices = [
            (coarse_axis_matrix if axis == separate_axis else axis_matrix)(
                source[axis], target.shape[axis], orders[axis]
            )
            for axis in range(3)
        ]
        (lower, upper, weight), rows, columns = map(corners, matrices)
        self._lower, self._upper, self._weight = lower.tolist(), upper.tolist(), weight.tolist()
        self._read = {*self._lower, *self._upper}
        self._in_plane: tuple[Corners, Corners] = (rows, columns)
        self._source, self._target = tuple(source), target
        self._labels = None if region_labels is None else np.array([0, *region_labels])
        self._arrived = self._written = 0
        self._planes: list[Plane[Values]] = []

    def finish(self) -> None:
        """Confirm that the label map is complete.

        Raises:
            ValueError: Slices are missing.
        """
        if self._arrived != self._source[0]:
            raise ValueError(f"expected {self._source[0]} slices of logits, found {self._arrived}")

    def _check_shape(self, slab: Shaped) -> None:
        heads = "heads" if self._labels is None else len(self._labels) - 1
        if slab.ndim != 4 or slab.shape[2:] != self._source[1:] or heads not in ("heads", slab.shape[0]):
            raise ValueError(f"expected a slab ({heads}, d, H, W) of {self._source}, found {tuple(slab.shape)}")
        if self._arrived + slab.shape[1] > self._source[0]:
            raise ValueError(f"expected {self._source[0]} slices, found {self._arrived + slab.shape[1]}")

    def _take(self, logits: Values) -> None:
        """Take a slice (heads, H, W), and write all slices of the label map that are complete with it."""
        index = self._arrived
        self._arrived += 1
        if index not in self._read:
            return
        self._planes = [*self._planes[-1:], Plane(logits, self._winners(logits))]
        while self._written < len(self._upper) and self._upper[self._written] == index:
            lower = self._planes[self._lower[self._written] - index - 1]
            winners = self._slice(lower, self._planes[-1], self._weight[self._written])
            self._target[self._written] = winners if self._labels is None else self._labels[winners]
            self._written += 1

    def _last_planes(self) -> list[Plane[Values]]:
        """Return the slice, if any, that the next one is interpolated with; it is in the slab, which may change."""
        needed = self._written < len(self._lower) and self._lower[self._written] == self._arrived - 1
        return self._planes[-1:] if needed else []

    @abc.abstractmethod
    def _winners(self, logits: Values) -> Values:
        """Return the class of the largest of (heads, H, W); of regions the last one painted (from 1 on), or 0."""

    @abc.abstractmethod
    def _slice(self, lower: Plane[Values], upper: Plane[Values], weight: float) -> NDArray[Any]:
        """Return the winners (H', W') of an output slice between two slices."""
