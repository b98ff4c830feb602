"""Which slices of a label map are annotated, and along which axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.labels.propagation.signed_distance import Mask


def annotated_slices(ignored: Mask, axis: int, share: float = 1.0) -> NDArray[np.intp]:
    """Return the annotated slices along an axis.

    Args:
        ignored: Voxels that are not annotated (D, H, W).
        axis: The axis, 0, 1 or 2.
        share: Least share of annotated voxels of an annotated slice.
    """
    return np.flatnonzero(_annotated_share(ignored, axis) >= share)


def annotation_axis(ignored: Mask, share: float = 1.0) -> int | None:
    """Return the axis along which the slices are annotated, or not at all; None if there is no annotated slice.

    Of all slices along it, the largest share is either annotated (:func:`annotated_slices`) or ignored as a whole; the
    first axis wins a tie. (An annotated slice crosses all slices along other axes, so these have no slice that is
    ignored as a whole.)

    Args:
        ignored: Voxels that are not annotated (D, H, W).
        share: Least share of annotated voxels of an annotated slice.

    Example:
        >>> ignored = np.ones((8, 4, 4), bool)
        >>> ignored[::2] = False
        >>> annotation_axis(ignored)
        0
    """
    found = []
    for axis in range(ignored.ndim):
        own = _annotated_share(ignored, axis)
        found.append(((own >= share) | (own == 0)).mean() if (own >= share).any() else 0.0)
    return int(np.argmax(found)) if any(found) else None


def _annotated_share(ignored: Mask, axis: int) -> NDArray[np.float64]:
    others = tuple(other for other in range(ignored.ndim) if other != axis)
    shares: NDArray[np.float64] = 1 - ignored.mean(others)
    return shares
