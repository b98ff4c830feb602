"""The shape of one structure between two annotated slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass, shift

from nnunet_ext.labels.propagation.component_pairs import component_pairs
from nnunet_ext.labels.propagation.signed_distance import Map, Mask, signed_distance

Window = tuple[slice, ...]


@dataclass(frozen=True)
class ShapeBetween:
    """Signed distances of one structure between two slices: averages of those of the slices.

    Each component is moved along the line between its centroids while it changes its shape, so components that do not
    overlap are connected. One without a counterpart ends before the middle. If a component overlaps several, nothing is
    moved: the nearer slice is taken, and the average of both in the middle. So flipped slices have flipped results.

    Args:
        lower: Foreground of the first slice (H, W).
        upper: Foreground of the second.
        spacing: Voxel size in mm, same axis order.
        align: Move components. Else the structure as a whole stays where it is.

    Example:
        >>> lower, upper = np.zeros((2, 1, 13), bool)
        >>> lower[0, 2:5] = upper[0, 8:11] = True
        >>> np.flatnonzero(ShapeBetween.of(lower, upper, (1.0, 1.0)).at(0.5)[0] > 0).tolist()
        [5, 6, 7]
    """

    shape: tuple[int, ...]
    parts: tuple[_Part, ...]

    @classmethod
    def of(cls, lower: Mask, upper: Mask, spacing: Sequence[float], *, align: bool = True) -> ShapeBetween:
        """Measure the distances, which are used for all slices between."""
        return cls(lower.shape, tuple(_parts(lower, upper, spacing, align=align)))

    def at(self, t: float) -> Map:
        """Return distances in mm (H, W), positive inside, -inf far outside.

        Args:
            t: Place between the slices, 0 at the first and 1 at the second.
        """
        found = np.full(self.shape, -np.inf)
        for part in self.parts:
            values = part.at(t)
            if values is not None:
                window, inner = _clipped(part.window, self.shape)
                np.maximum(found[window], values[inner], out=found[window])
        return found


@dataclass(frozen=True)
class _Part:
    """One component, or all of them; its window may reach beyond the slice."""

    window: Window
    lower: Map | None
    upper: Map | None
    move: NDArray[np.float64]  # from the lower to the upper centroid, in voxels
    copied: bool = False  # from the nearer slice

    def at(self, t: float) -> Map | None:
        if self.copied and t != 0.5:
            return self.lower if t < 0.5 else self.upper
        if self.lower is None or self.upper is None:
            near, distances = (t < 0.5, self.lower) if self.upper is None else (t > 0.5, self.upper)
            return distances if near else None
        if not self.move.any():
            return (1 - t) * self.lower + t * self.upper
        return (1 - t) * _moved(self.lower, t * self.move) + t * _moved(self.upper, (t - 1) * self.move)


def _parts(lower: Mask, upper: Mask, spacing: Sequence[float], *, align: bool) -> Iterator[_Part]:
    if not (lower.any() and upper.any()):
        if lower.any() or upper.any():
            yield _part(lower if lower.any() else None, upper if upper.any() else None, spacing)
        return
    found = component_pairs(lower, upper, spacing) if align else None
    if found is None:
        yield _part(lower, upper, spacing, move=False, copied=align)
        return
    for one, other in found.pairs:
        yield _part(one, other, spacing)
    for mask in found.lower:
        yield _part(mask, None, spacing)
    for mask in found.upper:
        yield _part(None, mask, spacing)


def _part(
    lower: Mask | None, upper: Mask | None, spacing: Sequence[float], *, move: bool = True, copied: bool = False
) -> _Part:
    masks = [mask for mask in (lower, upper) if mask is not None]
    way = np.zeros(masks[0].ndim)
    if move and lower is not None and upper is not None:
        way = np.subtract(center_of_mass(upper), center_of_mass(lower))
    margin = 2 * np.ceil(np.abs(way)).astype(int) + 1  # where either mask, moved, can be, and where the other is then
    places = np.argwhere(np.logical_or.reduce(masks))
    starts, stops = places.min(0) - margin, places.max(0) + 1 + margin
    window = tuple(slice(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True))
    maps: list[Map | None] = []
    for mask in (lower, upper):
        if mask is None:
            maps.append(None)
            continue
        framed = np.zeros(tuple(stops - starts), bool)
        outer, inner = _clipped(window, mask.shape)
        framed[inner] = mask[outer]
        maps.append(signed_distance(framed, spacing))
    return _Part(window, maps[0], maps[1], way, copied)


def _moved(values: Map, move: NDArray[np.float64]) -> Map:
    moved: Map = shift(values, move, order=1, mode="nearest", prefilter=False)
    return moved


def _clipped(window: Window, shape: Sequence[int]) -> tuple[Window, Window]:
    """The window within an array of this shape, and the same place within the window."""
    outer = tuple(slice(max(each.start, 0), min(each.stop, size)) for each, size in zip(window, shape, strict=True))
    inner = tuple(
        slice(part.start - each.start, part.stop - each.start) for part, each in zip(outer, window, strict=True)
    )
    return outer, inner
