"""Labels between annotated slices of one label map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.labels.propagation.annotated_slices import annotated_slices
from nnunet_ext.labels.propagation.shape_between import ShapeBetween
from nnunet_ext.labels.propagation.structures import Structures

Labels = NDArray[Any]
METHODS = ("shape", "distance", "nearest")
LARGEST_GAP = 4  # slices, up to which agreement of two slices tells right from wrong
MOSTLY = 0.5  # of a slice annotated: what is ignored in it was ignored on purpose


@dataclass(frozen=True)
class Rule:
    """How labels are propagated.

    Args:
        method: ``shape``: distances to the border are averaged, components move; ``distance``: they do not move;
            ``nearest``: the nearer annotated slice is copied, the lower one if both are as near.
        keep: ``confident``: fill only where both annotated slices and the interpolation have the same label; ``all``:
            fill all.
        gap: Largest distance of two annotated slices between which voxels are filled, in slices; None: 4 with
            ``confident``, any with ``all``.
        annotated_share: Least share of annotated voxels of an annotated slice.
        outside: Before the first and behind the last annotated slice: keep ``ignore``, or ``background``.
    """

    method: Literal["shape", "distance", "nearest"] = "shape"
    keep: Literal["confident", "all"] = "confident"
    gap: int | None = None
    annotated_share: float = 1.0
    outside: Literal["ignore", "background"] = "ignore"

    @property
    def largest_gap(self) -> int | None:
        """Of those that are filled; None: all are."""
        return LARGEST_GAP if self.gap is None and self.keep == "confident" else self.gap


def propagate(
    labels: Labels, structures: Structures, ignore: int, axis: int, spacing: Sequence[float], rule: Rule
) -> Labels:
    """Return a label map in which ignored voxels between annotated slices are filled.

    No annotated voxel changes, nor one beyond the first and the last annotated slice unless the rule says so. A voxel
    that one of the two annotated slices ignores stays ignored, and so do those of a slice that is mostly annotated.

    Args:
        labels: Label map (D, H, W).
        structures: What is interpolated.
        ignore: The ignore label.
        axis: Axis along which slices are annotated, 0, 1 or 2.
        spacing: Voxel size in mm, same axis order.
        rule: How.

    Example:
        >>> labels = np.full((3, 1, 6), 2)
        >>> labels[0], labels[2] = [[0, 1, 1, 1, 0, 0]], [[0, 0, 1, 1, 1, 0]]
        >>> one = Structures.of({"background": 0, "organ": 1, "ignore": 2})
        >>> propagate(labels, one, 2, 0, (1.0, 1.0, 1.0), Rule())[1].tolist()  # 2: the slices differ
        [[0, 2, 1, 1, 2, 0]]
    """
    found = labels.copy()
    slices = np.moveaxis(found, axis, 0)
    plane = [size for number, size in enumerate(spacing) if number != axis]
    annotated = annotated_slices(labels == ignore, axis, rule.annotated_share)
    for lower, upper in pairwise(map(int, annotated)):
        if upper - lower < 2 or (rule.largest_gap is not None and upper - lower > rule.largest_gap):
            continue
        ends = slices[lower], slices[upper]
        known = (ends[0] != ignore) & (ends[1] != ignore)
        if rule.keep == "confident":
            known &= ends[0] == ends[1]
        between = _between(ends, structures, plane, rule)
        for place in range(lower + 1, upper):
            if (slices[place] != ignore).mean() > MOSTLY:
                continue
            filled = between((place - lower) / (upper - lower))
            fills = known & (slices[place] == ignore)
            if rule.keep == "confident":  # a structure that moves lies where neither slice has it
                fills &= filled == ends[0]
            slices[place][fills] = filled[fills]
    if rule.outside == "background" and len(annotated):
        for beyond in (slices[: annotated[0]], slices[annotated[-1] + 1 :]):
            beyond[beyond == ignore] = 0
    return found


def _between(
    ends: tuple[Labels, Labels], structures: Structures, spacing: Sequence[float], rule: Rule
) -> Callable[[float], Labels]:
    """The labels between two slices, at a place from 0 to 1."""
    if rule.method == "nearest":
        return lambda t: ends[0] if t <= 0.5 else ends[1]
    shapes = [
        ShapeBetween.of(lower, upper, spacing, align=rule.method == "shape")
        for lower, upper in zip(*map(structures.masks, ends), strict=True)
    ]
    return lambda t: structures.labels([shape.at(t) for shape in shapes])
