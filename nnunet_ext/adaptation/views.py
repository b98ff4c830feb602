"""Views of a patch on which a prediction should agree: flips, and rotations by 90, 180 and 270 degrees."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class View:
    """A flip or a rotation.

    Args:
        axes: One axis to flip, or the two of the plane to rotate in; of the patch, from 0.
        turns: By 90 degrees; 0 for a flip.
    """

    axes: tuple[int, ...]
    turns: int = 0

    def of(self, batch: Tensor) -> Tensor:
        """Return the view of patches (B, C, *patch)."""
        return self._turned(batch, self.turns)

    def undo(self, batch: Tensor) -> Tensor:
        """Return what lies where it lay before :meth:`of`."""
        return self._turned(batch, -self.turns)

    def _turned(self, batch: Tensor, turns: int) -> Tensor:
        axes = [axis + 2 for axis in self.axes]
        return torch.rot90(batch, turns, axes) if self.turns else torch.flip(batch, axes)


def views_of(patch: Sequence[int], spacing: Sequence[float], mirroring: Sequence[int]) -> list[View]:
    """Return the views besides the patch itself.

    A training without mirroring along an axis may tell left from right by it, so such axes are neither flipped nor
    rotated. Rotations are in one plane, the last one whose two axes have equal patch edges and spacings.

    Args:
        patch: Edges.
        spacing: Of the same axes, in mm.
        mirroring: Axes along which the training mirrored.

    Example:
        >>> [(view.axes, view.turns) for view in views_of((8, 16, 16), (3, 1, 1), (0, 1, 2))]
        [((0,), 0), ((1,), 0), ((2,), 0), ((1, 2), 1), ((1, 2), 2), ((1, 2), 3)]
    """
    planes = [
        (one, other)
        for one, other in itertools.combinations(sorted(mirroring), 2)
        if patch[one] == patch[other] and math.isclose(spacing[one], spacing[other], rel_tol=1e-3)
    ]
    return [View((axis,)) for axis in sorted(mirroring)] + [
        View(plane, turns) for plane in planes[-1:] for turns in (1, 2, 3)
    ]
