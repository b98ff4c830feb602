"""A mask without the empty space around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, ...]


@dataclass(frozen=True)
class CroppedMask:
    """A mask in the smallest box around it.

    Args:
        box: Where it lies in the image (D, H, W); None if it is empty.
        voxels: The mask in the box.
    """

    box: Box | None
    voxels: NDArray[np.bool_]

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> CroppedMask:
        """Crop a mask (D, H, W).

        Example:
            >>> mask = np.zeros((4, 5, 6), bool)
            >>> mask[1:3, 2, 4] = True
            >>> CroppedMask.of(mask).voxels.shape
            (2, 1, 1)
        """
        box: Box = ()
        for axis in range(mask.ndim):
            inside = mask[box]  # each axis leaves less for the next
            places = np.flatnonzero(inside.any(tuple(other for other in range(mask.ndim) if other != axis)))
            if not places.size:
                return cls(None, np.zeros((0,) * mask.ndim, bool))
            box = (*box, slice(int(places[0]), int(places[-1]) + 1))
        return cls(box, mask[box].copy())

    def within(self, box: Box) -> NDArray[np.bool_]:
        """Return the mask in another box, which holds its own."""
        found = np.zeros([side.stop - side.start for side in box], bool)
        if self.box is not None:
            found[moved(self.box, box)] = self.voxels
        return found


def moved(box: Box, origin: Box) -> Box:
    """Return a box, of an image, in coordinates of another box."""
    return tuple(
        slice(side.start - other.start, side.stop - other.start) for side, other in zip(box, origin, strict=True)
    )


def box_around(boxes: Sequence[Box], shape: Sequence[int], margin: int = 0) -> Box:
    """Return the box around some boxes and a margin, as far as the image reaches.

    Args:
        boxes: Without any, the image's first voxel is taken.
        shape: Of the image.
        margin: Voxels.
    """
    if not boxes:
        return tuple(slice(0, 1) for _ in shape)
    return tuple(
        slice(
            max(0, min(side.start for side in sides) - margin), min(length, max(side.stop for side in sides) + margin)
        )
        for sides, length in zip(zip(*boxes, strict=True), shape, strict=True)
    )
