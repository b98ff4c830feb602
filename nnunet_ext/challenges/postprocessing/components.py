"""The connected components of a structure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_ext.challenges.case_masks import LabelMap
from nnunet_ext.challenges.cropped_mask import Box, box_around
from nnunet_ext.quality.grid import Grid


@dataclass(frozen=True)
class Components:
    """The components of a structure; voxels that share a face, an edge or a corner are connected.

    Args:
        box: Where they lie in the image (D, H, W), with a margin of one voxel as far as the image reaches.
        numbers: The component of each voxel of the box, from 1 on; 0: outside of the structure.
        sizes: Voxels of each component.
    """

    box: Box
    numbers: NDArray[np.int32]
    sizes: NDArray[np.intp]

    @classmethod
    def of(cls, labels: LabelMap, own: Sequence[int]) -> Components | None:
        """Find the components of the union of some labels; None if there is none of them.

        Args:
            labels: The label map.
            own: The labels.
        """
        mask = labels.mask("", own)
        if mask is None or mask.box is None:
            return None
        box = box_around([mask.box], labels.labels.shape, margin=1)
        inside = mask.within(box)
        numbers, count = ndimage.label(inside, neighbours(inside.ndim), output=np.int32)
        return cls(box, numbers, np.bincount(numbers.ravel(), minlength=count + 1)[1:])

    def largest(self, count: int) -> NDArray[np.intp]:
        """Return the numbers of the largest ones; of equal ones, those that come first in the image."""
        return np.argsort(-self.sizes, kind="stable")[:count] + 1

    def touching(self, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return the numbers of those with a neighbour in a mask of the box (D, H, W), which has no voxel of theirs."""
        near = ndimage.binary_dilation(mask, neighbours(mask.ndim))
        return np.setdiff1d(self.numbers[near], [0])

    def around(self, number: int) -> tuple[Box, NDArray[np.bool_], NDArray[np.bool_]]:
        """Return a box in the box, the voxels of a component in it, and the voxels that touch these."""
        box = box_around([self._boxes[number - 1]], self.numbers.shape, margin=1)
        inside = self.numbers[box] == number
        return box, inside, ndimage.binary_dilation(inside, neighbours(inside.ndim)) & ~inside

    @cached_property
    def _boxes(self) -> list[Box]:
        found: list[Box] = ndimage.find_objects(self.numbers)
        return found


def neighbours(axes: int) -> NDArray[np.bool_]:
    """Return a voxel and all its neighbours, corners included, as scipy takes them."""
    found: NDArray[np.bool_] = ndimage.generate_binary_structure(axes, axes)
    return found


def voxel_volume(grid: Grid) -> float:
    """Return the volume of a voxel in mm3; of a 2d image, its area in mm2."""
    return math.prod(grid.spacing[1:] if grid.is_flat else grid.spacing)
