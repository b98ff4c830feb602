"""The order of axes of fine-tuning plans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.decision import Decision, Origin, in_words
from nnunet_ext.fine_tuning.own_plans import OwnPlans
from nnunet_ext.fine_tuning.source_model import SourceModel

FACTOR = 1.5  # between ratios of spacings that count as alike


def decide_transposition(
    source: SourceModel, own: OwnPlans, base: str, wanted: str | Sequence[int] | None = None
) -> Decision:
    """Decide ``transpose_forward``.

    Kernels and strides belong to axes in this order. The source's is kept if, in it, the data are as anisotropic along
    each axis as the source's were; else the data's own, which puts the coarsest axis first.

    Args:
        source: The model.
        own: The data's own plans.
        base: Their configuration.
        wanted: ``source``, ``target``, or three numbers.

    Raises:
        UserError: The numbers are not 0, 1 and 2.
    """
    what = "transposition"
    if wanted is not None and not isinstance(wanted, str):
        if sorted(wanted) != [0, 1, 2]:
            raise UserError(f"--transpose {' '.join(map(str, wanted))}: expected 0, 1 and 2 in some order. Correct it.")
        return _decision(what, wanted, "flag", "--transpose")
    if wanted is not None:
        taken = source.transpose if wanted == "source" else own.transpose
        return _decision(what, taken, "flag", f"--transpose {wanted}")
    if source.transpose == own.transpose:
        return _decision(what, own.transpose, "both", "the network's axes are those of your images")
    spacing = own.image_spacing(base)[list(source.transpose)]
    theirs = source.volume_spacing
    if theirs is not None and _alike(_anisotropy(np.asarray(theirs)), _anisotropy(spacing)):
        why = f"in its order, your spacing {in_words(spacing.tolist())} is as anisotropic as {in_words(theirs)} was"
        return _decision(what, source.transpose, "source", why)
    known = "unknown" if theirs is None else in_words(theirs)
    why = f"in the source's order {in_words(source.transpose)}, your spacing would be {in_words(spacing.tolist())}"
    return _decision(what, own.transpose, "target", f"{why}, and the source's was {known}")


def _decision(what: str, value: Sequence[int], origin: Origin, why: str) -> Decision:
    return Decision(what, [int(axis) for axis in value], origin, why, shown=" ".join(map(str, value)))


def _anisotropy(spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(spacing / spacing.min())


def _alike(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    ratio = one / other
    return bool(np.all(np.maximum(ratio, 1 / ratio) <= FACTOR))
