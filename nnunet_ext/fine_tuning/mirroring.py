"""The mirroring of fine-tuning plans."""

from __future__ import annotations

from collections.abc import Sequence

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.decision import Decision, Origin
from nnunet_ext.fine_tuning.source.source_model import SourceModel

WHAT, FLAG = "mirroring", "--mirror_axes"


def decide_mirroring(
    source: SourceModel, transpose: Sequence[int], wanted: str | Sequence[int] | None = None
) -> Decision:
    """Decide along which axes training and prediction mirror: those of the source, whose weights know no others.

    A training without mirroring tells left from right; mirrored images would teach its weights to forget that.

    Args:
        source: The model.
        transpose: ``transpose_forward`` as decided.
        wanted: ``source``, ``target`` (nnU-Net's own: all axes), or axes of a patch in the order of the plans.

    Returns:
        The decision, whose value are axes of a patch, ascending.

    Raises:
        UserError: An axis that a patch does not have, or one twice.
    """
    every = list(range(source.dimensions))
    theirs = _moved(source, transpose)
    if wanted is not None and not isinstance(wanted, str):
        if len(set(wanted)) < len(wanted) or not set(wanted) <= set(every):
            raise UserError(
                f"{FLAG} {' '.join(map(str, wanted))}: expected axes from 0 to {every[-1]}, each at most once. Correct "
                f"it."
            )
        return _decision(sorted(wanted), "flag", FLAG)
    if wanted is not None:
        return _decision(theirs if wanted == "source" else every, "flag", f"{FLAG} {wanted}")
    if theirs == every:
        return _decision(every, "both", "along all axes, as nnU-Net does")
    return _decision(theirs, "source", "it was trained so, and the weights have not seen other mirror images")


def _moved(source: SourceModel, transpose: Sequence[int]) -> list[int]:
    """Return the source's axes where another transposition puts them; those that are no axes of a patch are left out.

    The first axis of a volume is none of a 2d patch.
    """
    flat = 3 - source.dimensions
    of_image = [source.transpose[axis + flat] for axis in source.mirroring_axes or ()]
    return sorted(place - flat for place in map(list(transpose).index, of_image) if place >= flat)


def _decision(axes: list[int], origin: Origin, why: str) -> Decision:
    shown = f"along {', '.join(map(str, axes))}" if axes else "none"
    return Decision(WHAT, axes, origin, why, shown=shown)
