"""The spacing of fine-tuning plans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.decision import Decision, Origin, in_words
from nnunet_ext.fine_tuning.own_plans import OwnPlans
from nnunet_ext.fine_tuning.source.source_model import SourceModel

FACTOR = 1.5  # along each axis: within it, structures look alike to the weights
FINER = 1.05  # voxels that resampling adds, as a factor, which go without saying


def decide_spacing(
    source: SourceModel,
    own: OwnPlans,
    base: str,
    transpose: Sequence[int],
    wanted: str | Sequence[float] | None = None,
) -> tuple[Decision, list[float]]:
    """Decide the spacing: the source's if the data's own is near it, because weights know structures at their scale.

    Args:
        source: The model.
        own: The data's own plans.
        base: Their configuration.
        transpose: ``transpose_forward`` as decided.
        wanted: ``source``, ``target``, or three numbers in mm in the axis order of the images, as
            ``-overwrite_target_spacing`` takes them.

    Returns:
        The decision, whose value is in the order of the plans and has the axes of a patch; and the spacing of all three
        axes of the images, in their order.

    Raises:
        UserError: ``source``, whose images had no common spacing.
    """
    order, axes = list(transpose), source.dimensions
    planned = own.image_spacing(base)
    known = source.spacing is not None
    mine = planned[order][-axes:]
    theirs = np.asarray(source.spacing if known else mine)
    ratio = np.maximum(mine / theirs, theirs / mine)
    origin: Origin = "flag"
    if wanted in (None, "source") and not known:
        unknown = "the source's adaptation plan names no spacing that all its images were resampled to"
        if wanted == "source":
            raise UserError(f"--spacing source: {unknown}. Leave it out, or give target or three numbers.")
        origin, taken, why = "target", mine, unknown
    elif wanted is None:
        near = bool(np.all(ratio <= FACTOR))
        origin, taken = ("source", theirs) if near else ("target", mine)
        relation = f"yours, {in_words(mine.tolist())}, is within a factor of {FACTOR:g} of it along each axis"
        why = (
            f"{relation}, and the weights know structures at this scale"
            if near
            else f"the source's, {in_words(theirs.tolist())}, differs by a factor of {ratio.max():.2g} along an axis"
        )
    elif isinstance(wanted, str):
        taken, why = theirs if wanted == "source" else mine, f"--spacing {wanted}"
    else:
        taken, why = np.asarray(wanted, dtype=float)[order][-axes:], "--spacing"
    full = planned.copy()
    full[order[-axes:]] = taken
    decision = Decision(
        "spacing (mm)",
        [float(step) for step in taken],
        origin,
        why + _resampled(own.median_spacing[order][-axes:], taken),
        warning=_other_scale(taken, theirs) if known else "",
    )
    return decision, full.tolist()


def _resampled(median: NDArray[np.float64], taken: NDArray[np.float64]) -> str:
    """Say it if images get more voxels than they have."""
    factor = float(np.prod(median / taken))
    if factor <= FINER:
        return ""
    return f"; your images, {in_words(median.tolist())} in the median, are resampled to {factor:.3g} times their voxels"


def _other_scale(taken: NDArray[np.float64], theirs: NDArray[np.float64]) -> str:
    ratio = theirs / taken
    if np.all(np.maximum(ratio, 1 / ratio) <= FACTOR):
        return ""
    return (
        f"spacing: structures have {in_words([float(f'{number:.2g}') for number in ratio])} times the voxels along the "
        f"axes that they had for the source, and the weights must learn that; --spacing source resamples to its scale"
    )
