"""Which component of one slice continues which component of another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import center_of_mass, label
from scipy.optimize import linear_sum_assignment

from nnunet_ext.labels.propagation.signed_distance import Mask


class ComponentPairs(NamedTuple):
    """Components of two masks: (H, W) each, one component in each mask.

    Args:
        pairs: Components that continue each other.
        lower: Components of the first mask that end.
        upper: Components of the second mask that begin.
    """

    pairs: list[tuple[Mask, Mask]]
    lower: list[Mask]
    upper: list[Mask]


def component_pairs(lower: Mask, upper: Mask, spacing: Sequence[float]) -> ComponentPairs | None:
    """Match components one to one: those that overlap, then the others by the distance of their centroids.

    Voxels that touch at a corner are connected.

    Args:
        lower: Foreground of one slice (H, W).
        upper: Foreground of the other.
        spacing: Voxel size in mm, same axis order.

    Returns:
        The components; None if one overlaps several: the structure branches, or two parts of it join.
    """
    connected = np.ones((3,) * lower.ndim)
    (first, n_first), (second, n_second) = label(lower, connected), label(upper, connected)
    both = lower & upper
    overlapping = {(int(one), int(other)) for one, other in zip(first[both], second[both], strict=True)}
    for side in (0, 1):
        if any(number > 1 for number in Counter(pair[side] for pair in overlapping).values()):
            return None
    left = sorted(set(range(1, n_first + 1)) - {one for one, _ in overlapping})
    right = sorted(set(range(1, n_second + 1)) - {other for _, other in overlapping})
    matched = sorted(overlapping)
    if left and right:
        ends = [
            np.array(center_of_mass(mask, mask, index)) * spacing for mask, index in ((first, left), (second, right))
        ]
        rows, columns = linear_sum_assignment(np.linalg.norm(ends[0][:, None] - ends[1][None], axis=-1))
        found = [(left[row], right[column]) for row, column in zip(rows, columns, strict=True)]
        matched += found
        left = [one for one in left if one not in {one for one, _ in found}]
        right = [other for other in right if other not in {other for _, other in found}]
    return ComponentPairs(
        [(first == one, second == other) for one, other in matched],
        [first == one for one in left],
        [second == other for other in right],
    )
