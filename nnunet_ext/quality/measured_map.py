"""What is measured of a label map, of a training case or of a prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_ext.quality.grid import Grid

NEIGHBOURS = np.ones((3, 3, 3))  # voxels that share a corner belong together


@dataclass(frozen=True)
class ClassMeasures:
    """One class in one label map.

    Args:
        size: In ml, or cm² in a 2d image; 0 if the map does not have the class.
        pieces: Connected components, across faces, edges and corners of voxels.
        largest: Share of the largest of them, 0 to 1.
        centre: Centre of gravity from 0 to 1 across the image, along the canonical axes (:class:`Grid`).
        touches: Whether the class reaches the image's first and last voxel of each canonical axis, six in all. An axis
            of one voxel is never touched.
    """

    size: float = 0.0
    pieces: int = 0
    largest: float = 0.0
    centre: tuple[float, ...] = ()
    touches: tuple[bool, ...] = ()


@dataclass(frozen=True)
class MeasuredMap:
    """All classes of a label map.

    Args:
        orientation: Of its grid (:class:`Grid`).
        unit: Of sizes.
        classes: Measures by class; a class that was not annotated is not there.
    """

    orientation: str | None
    unit: str
    classes: dict[str, ClassMeasures]

    @classmethod
    def of(cls, labels: NDArray[Any], grid: Grid, classes: Mapping[str, int | tuple[int, ...]]) -> MeasuredMap:
        """Measure a label map.

        Args:
            labels: (D, H, W), whole numbers from 0 up.
            grid: Of the label map.
            classes: For each class its label, or the labels of its region.

        Example:
            >>> import numpy as np
            >>> from nnunet_ext.quality.grid import Grid
            >>> labels = np.zeros((4, 10, 10), np.uint8)
            >>> labels[1:3, 2:7, 2:7] = 1
            >>> found = MeasuredMap.of(labels, Grid(labels.shape, (2.0, 1.0, 1.0)), {"organ": 1})
            >>> found.classes["organ"].size, found.classes["organ"].pieces
            (0.1, 1)
        """
        turned = grid.canonical(labels)
        boxes = ndimage.find_objects(turned)
        found = {}
        for name, value in classes.items():
            values = value if isinstance(value, tuple) else (value,)
            there = [boxes[each - 1] for each in values if 0 < each <= len(boxes) and boxes[each - 1] is not None]
            found[name] = _measure(turned, values, _union(there), grid.voxel_size) if there else ClassMeasures()
        return cls(grid.orientation, grid.unit, found)

    def as_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> MeasuredMap:
        """Read what :meth:`as_json` returned, after it was in a file."""
        classes = {
            name: ClassMeasures(**(fields | {"centre": tuple(fields["centre"]), "touches": tuple(fields["touches"])}))
            for name, fields in content["classes"].items()
        }
        return cls(content["orientation"], content["unit"], classes)


def _union(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in zip(*boxes, strict=True)
    )


def _measure(labels: NDArray[Any], values: tuple[int, ...], box: tuple[slice, ...], voxel: float) -> ClassMeasures:
    mask = labels[box] == values[0] if len(values) == 1 else np.isin(labels[box], values)
    count = int(np.count_nonzero(mask))
    components, pieces = ndimage.label(mask, NEIGHBOURS)
    largest = int(np.bincount(components.ravel())[1:].max())
    centre = [
        (side.start + _mean_place(mask, axis) + 0.5) / length
        for axis, (side, length) in enumerate(zip(box, labels.shape, strict=True))
    ]
    touches = [
        length > 1 and at_end
        for side, length in zip(box, labels.shape, strict=True)
        for at_end in (side.start == 0, side.stop == length)
    ]
    return ClassMeasures(count * voxel, int(pieces), largest / count, tuple(map(float, centre)), tuple(touches))


def _mean_place(mask: NDArray[np.bool_], axis: int) -> float:
    """The centre of gravity along an axis, by the number of voxels in each slice."""
    counts = np.count_nonzero(mask, axis=tuple(other for other in range(mask.ndim) if other != axis))
    return float(np.average(np.arange(len(counts)), weights=counts))
