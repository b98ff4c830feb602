"""The label of a case beside its prediction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_ext.data.classes import foreground_classes, map_names
from nnunet_ext.quality.grid import Grid

Box = tuple[slice, ...]
MARGIN = 6  # voxels around the foreground: the farthest shift, and one more


@dataclass(frozen=True)
class LabelPair:
    """Two label maps (D, H, W) on one grid; what does not count is background in both.

    Args:
        labels: The label.
        prediction: The prediction.
        counts: Mask of the voxels that count; the others are ignored.
        grid: Of both.
        classes: Labels of each class, or region, that was annotated.
        names: Class names by the values in the label maps.
        chances: Probabilities (C, D, H, W) of the prediction: of all labels, or of all regions.
        regions: Whether the classes are regions.
    """

    labels: NDArray[np.int32]
    prediction: NDArray[np.int32]
    counts: NDArray[np.bool_]
    grid: Grid
    classes: dict[str, tuple[int, ...]]
    names: dict[int, str]
    chances: NDArray[np.float32] | None = None
    regions: bool = False

    @classmethod
    def of(
        cls,
        labels: NDArray[np.int32],
        prediction: NDArray[np.int32],
        counts: NDArray[np.bool_],
        grid: Grid,
        *,
        description: Mapping[str, Any],
        unknown: Sequence[str] = (),
        chances: NDArray[np.float32] | None = None,
    ) -> LabelPair:
        """Return the pair without what does not count.

        Args:
            labels: (D, H, W).
            prediction: (D, H, W).
            counts: (D, H, W).
            grid: Of both.
            description: dataset.json, with labels as numbers.
            unknown: Classes that were not annotated in this case.
            chances: (C, D, H, W).
        """
        values = foreground_classes(description)
        classes = {
            name: value if isinstance(value, tuple) else (value,)
            for name, value in values.items()
            if not set(name.split(" / ")) & set(unknown)
        }
        names = {value: name for value, name in map_names(description).items() if name in classes}
        counts = counts & np.isin(prediction, [0, *(value for own in classes.values() for value in own)])
        regions = any(isinstance(value, tuple) for value in values.values())
        if regions:  # as the prediction is painted: labels that are in the same regions are one
            labels = _painted(labels, values.values(), description["regions_class_order"])
        return cls(
            np.where(counts, labels, 0),
            np.where(counts, prediction, 0),
            counts,
            grid,
            classes,
            names,
            chances,
            regions,
        )

    @cached_property
    def box(self) -> Box:
        """The part of the image with foreground of either, and a margin."""
        return self.box_of([value for own in self.classes.values() for value in own])

    def box_of(self, values: Iterable[int]) -> Box:
        """Return the part of the image in which either map has one of some labels, and a margin."""
        wanted = tuple(values)
        there = [box for boxes in self._boxes for value in wanted if (box := boxes.get(value)) is not None]
        return _box_around(there, self.labels.shape, MARGIN)

    def masks(self, name: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Box]:
        """Return the masks of a class in label and prediction, in a box, and the box."""
        box = self.box_of(self.classes[name])
        one, other = (np.isin(array[box], self.classes[name]) for array in (self.labels, self.prediction))
        return one, other, box

    @cached_property
    def _boxes(self) -> list[dict[int, Box | None]]:
        return [dict(enumerate(ndimage.find_objects(array), 1)) for array in (self.labels, self.prediction)]


def _painted(
    labels: NDArray[np.int32], regions: Iterable[int | tuple[int, ...]], order: Sequence[int]
) -> NDArray[np.int32]:
    """Return the label map that nnU-Net makes of a label's regions."""
    found = np.zeros_like(labels)
    for members, value in zip(regions, order, strict=True):
        found[np.isin(labels, members)] = value
    return found


def _box_around(boxes: Sequence[Box], shape: Sequence[int], margin: int) -> Box:
    """Return the box around some boxes and a margin, as far as the image reaches; without any, one voxel."""
    if not boxes:
        return tuple(slice(0, 1) for _ in shape)
    return tuple(
        slice(
            max(0, min(each.start for each in sides) - margin), min(length, max(each.stop for each in sides) + margin)
        )
        for sides, length in zip(zip(*boxes, strict=True), shape, strict=True)
    )
