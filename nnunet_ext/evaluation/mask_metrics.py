"""Metrics of two masks, with an explicit rule for empty ones."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.hausdorff import DEFINITION, hausdorff_95
from nnunet_ext.evaluation.surface_distances import AREA_HD95, SurfaceDistances, surface_distances

NSD = re.compile(r"nsd@(\d+(?:\.\d+)?)(?:mm)?")
LEGAL = "dice, hd95, hd95_area, nsd@TOLERANCEmm (such as nsd@2mm)"


@dataclass(frozen=True)
class MaskPair:
    """The masks of one structure; what several metrics need is computed once.

    Args:
        prediction: Mask (D, H, W), the image or a part of it that holds both masks and a margin of a voxel.
        reference: Mask of the same part.
        spacing: Voxel size in mm, same axis order.
        image_shape: Of the image; None: that of the masks.
        box: Where the part lies in the image; None: it is the image.
    """

    prediction: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    spacing: tuple[float, ...]
    image_shape: tuple[int, ...] | None = None
    box: tuple[slice, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the image."""
        return self.image_shape or self.reference.shape

    @cached_property
    def voxels(self) -> tuple[int, int]:
        """Voxels of prediction and reference."""
        return int(np.count_nonzero(self.prediction)), int(np.count_nonzero(self.reference))

    def whole(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return one of the masks in the whole image."""
        if self.box is None:
            return mask
        found = np.zeros(self.shape, bool)
        found[self.box] = mask
        return found

    @cached_property
    def distances(self) -> SurfaceDistances:
        """Distances between the surfaces, or the contours of a 2d image, whose axis of one voxel does not count.

        Raises:
            ValueError: A mask is empty.
        """
        axes = [axis for axis, length in enumerate(self.shape) if length > 1]
        kept = tuple(slice(None) if axis in axes else 0 for axis in range(len(self.shape)))
        return surface_distances(self.prediction[kept], self.reference[kept], [self.spacing[axis] for axis in axes])


@dataclass(frozen=True)
class EmptyRule:
    """What counts where masks are empty; no metric is computed there.

    Args:
        both: Where both are; None: it is not counted.
        one: Where just one of both is, a number or a function of the masks.
    """

    both: float | None
    one: float | Callable[[MaskPair], float]


@dataclass(frozen=True)
class Metric:
    """A metric of two masks.

    Args:
        name: As users write it.
        definition: What is computed.
        larger_is_better: Or smaller.
        of: Computes it for two masks that are not empty.
        needs_surface_distance: Whether it needs that package.
    """

    name: str
    definition: str
    larger_is_better: bool
    of: Callable[[MaskPair], float]
    needs_surface_distance: bool = False

    def value(self, pair: MaskPair, empty: EmptyRule) -> float | None:
        """Return the metric, by the rule where a mask is empty; None: not counted."""
        predicted, expected = pair.voxels
        if predicted and expected:
            return self.of(pair)
        if not (predicted or expected):
            return empty.both
        return empty.one(pair) if callable(empty.one) else empty.one


def diagonal(pair: MaskPair) -> float:
    """Return the distance in mm between the centres of the image's outermost voxels, which no distance exceeds."""
    lengths = zip(pair.shape, pair.spacing, strict=True)
    return math.hypot(*((length - 1) * step for length, step in lengths if length > 1))


def dice(pair: MaskPair) -> float:
    """Return twice the common voxels by all voxels."""
    common = int(np.count_nonzero(pair.prediction & pair.reference))
    return 2 * common / sum(pair.voxels)


def nsd(pair: MaskPair, *, tolerance: float) -> float:
    """Return the surface Dice at a tolerance in mm."""
    return pair.distances.surface_dice(tolerance)


def hd95_area(pair: MaskPair) -> float:
    """Return the 95 % Hausdorff distance in mm by area."""
    return pair.distances.hausdorff_95()


def hd95(pair: MaskPair) -> float:
    """Return the 95 % Hausdorff distance in mm of :func:`nnunet_ext.evaluation.hausdorff.hausdorff_95`."""
    found = hausdorff_95(pair.prediction, pair.reference, pair.spacing)
    if found is None:
        raise ValueError("expected two masks with at least one voxel each, got empty ones")
    return found


DICE = Metric("dice", "twice the common voxels by the voxels of both masks", True, dice)


def surface_dice(tolerance: float) -> Metric:
    """Return the metric ``nsd@TOLERANCEmm``.

    Args:
        tolerance: In mm.
    """
    distance = f"{tolerance!r}".removesuffix(".0")
    return Metric(
        f"nsd@{distance}mm",
        f"surface Dice (NSD): share of the area of both surfaces at most {distance} mm from the other surface "
        f"(surface-distance, DeepMind)",
        True,
        partial(nsd, tolerance=tolerance),
        True,
    )


def parse_metrics(text: str) -> list[Metric]:
    """Read ``dice,hd95,nsd@2mm``.

    Args:
        text: ``dice``; ``hd95``, surface voxels of both directions pooled; ``hd95_area``, by surface area, larger of
            both directions; ``nsd@Tmm`` with a tolerance above 0; separated by commas.

    Raises:
        UserError: A name is unknown, stands twice or has no tolerance.

    Example:
        >>> [metric.name for metric in parse_metrics("dice,nsd@1.5mm")]
        ['dice', 'nsd@1.5mm']
    """
    found = [_metric(word.strip(), text) for word in text.split(",")]
    names = [metric.name for metric in found]
    if len(set(names)) < len(names):
        raise UserError(f"--metrics {text}: expected each metric once, found one twice. Leave one out.")
    return found


def _metric(word: str, text: str) -> Metric:
    fixed: Sequence[Metric] = (
        DICE,
        Metric("hd95", f"95 % Hausdorff distance: {DEFINITION}", False, hd95),
        Metric("hd95_area", f"95 % Hausdorff distance: {AREA_HD95}", False, hd95_area, True),
    )
    for metric in fixed:
        if word.lower() == metric.name:
            return metric
    match = NSD.fullmatch(word.lower())
    if match is None or float(match[1]) <= 0:
        raise UserError(f"--metrics {text}: expected metrics from {LEGAL}, found {word!r}. Correct it.")
    return surface_dice(float(match[1]))
