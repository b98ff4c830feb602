"""The order of axes of fine-tuning plans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.decision import Decision, Origin, in_words
from nnunet_ext.fine_tuning.own_plans import OwnPlans
from nnunet_ext.fine_tuning.source.source_model import SourceModel

WHAT = "transposition"
FACTOR = 1.5  # between ratios of spacings that count as alike


def decide_transposition(
    source: SourceModel,
    own: OwnPlans,
    base: str,
    wanted: str | Sequence[int] | None = None,
    spacing: str | Sequence[float] | None = None,
) -> Decision:
    """Decide ``transpose_forward``.

    Kernels and strides belong to axes in this order. The source's is kept if they are equal along all axes, or if, in
    it, the data are as anisotropic along each axis as the source's were; else the data's own, which puts the coarsest
    axis first.

    Args:
        source: The model.
        own: The data's own plans.
        base: Their configuration.
        wanted: ``source``, ``target``, or three numbers.
        spacing: What the user decided of it, as :func:`nnunet_ext.fine_tuning.spacing.decide_spacing` takes it.

    Raises:
        UserError: The numbers are not 0, 1 and 2.
    """
    if wanted is not None and not isinstance(wanted, str):
        if sorted(wanted) != [0, 1, 2]:
            raise UserError(f"--transpose {' '.join(map(str, wanted))}: expected 0, 1 and 2 in some order. Correct it.")
        return _decision(source, wanted, "flag", "--transpose")
    if wanted is not None:
        taken = source.transpose if wanted == "source" else own.transpose
        return _decision(source, taken, "flag", f"--transpose {wanted}")
    if source.transpose == own.transpose:
        return _decision(source, own.transpose, "both", "the network's axes are those of your images")
    if _is_alike_along_all_axes(source):
        return _decision(source, source.transpose, "source", "its kernels and strides are equal along all axes")
    used, theirs = _spacing_in_its_order(source, own, base, spacing), source.volume_spacing
    if theirs is not None and _alike(_anisotropy(np.asarray(theirs)), _anisotropy(used)):
        why = f"in its order, your spacing {in_words(used.tolist())} is as anisotropic as {in_words(theirs)} was"
        return _decision(source, source.transpose, "source", why)
    known = "unknown" if theirs is None else in_words(theirs)
    why = f"in the source's order {in_words(source.transpose)}, your spacing would be {in_words(used.tolist())}"
    return _decision(source, own.transpose, "target", f"{why}, and the source's was {known}")


def _decision(source: SourceModel, value: Sequence[int], origin: Origin, why: str) -> Decision:
    warning = ""
    if tuple(value) != source.transpose:
        warning = (
            f"{WHAT}: the weights have learned structures along axes in the order {in_words(source.transpose)}, and "
            f"now see them along {in_words(value)}; --transpose source keeps their order"
        )
    return Decision(WHAT, [int(axis) for axis in value], origin, why, " ".join(map(str, value)), warning)


def _is_alike_along_all_axes(source: SourceModel) -> bool:
    """Whether nothing in a 3d network tells its axes apart; False if its plans do not say it."""
    kwargs = source.architecture["arch_kwargs"]
    if source.dimensions != 3 or not {"kernel_sizes", "strides"} <= kwargs.keys():
        return False
    of_stages = [kwargs[key] for key in ("kernel_sizes", "strides")]
    sizes = [size for each in of_stages if not isinstance(each, int) for size in each]
    return all(isinstance(size, int) or len(set(size)) == 1 for size in sizes)


def _spacing_in_its_order(
    source: SourceModel, own: OwnPlans, base: str, spacing: str | Sequence[float] | None
) -> NDArray[np.float64]:
    """Return the spacing that will be used, in the source's order of axes: as planned, unless the user decided it."""
    found = own.image_spacing(base)[list(source.transpose)]
    if spacing == "source" and source.spacing is not None:
        found[-source.dimensions :] = source.spacing
    elif spacing is not None and not isinstance(spacing, str):
        asked = np.asarray(spacing, dtype=float)[list(source.transpose)]
        found[-source.dimensions :] = asked[-source.dimensions :]
    return found


def _anisotropy(spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(spacing / spacing.min())


def _alike(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    ratio = one / other
    return bool(np.all(np.maximum(ratio, 1 / ratio) <= FACTOR))
