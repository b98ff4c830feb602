"""One class of a label, compared with its prediction."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_ext.evaluation.mask_metrics import EmptyRule, MaskPair, dice, surface_dice
from nnunet_ext.labels.suspects.label_pair import Box, LabelPair
from nnunet_ext.labels.suspects.repairs import Repair

NSD = surface_dice(2.0)  # on a grid of voxels of 1 mm: 2 voxels
CONFIDENT = 3  # a component counts if one in so many of its voxels is confident
NEIGHBOURS = np.ones((3, 3, 3))  # voxels that share a corner belong together


@dataclass(frozen=True)
class Untouched:
    """Connected components of one map that no voxel of the other map touches.

    Args:
        count: Components.
        largest: Voxels of the one that weighs most.
        weight: All of its voxels, if the prediction is confident in a third of them or there are no probabilities; else
            those in which it is.
        centre: Of its voxels, as indices (D, H, W) of the image; empty without any.
    """

    count: int = 0
    largest: int = 0
    weight: int = 0
    centre: tuple[int, ...] = ()


@dataclass(frozen=True)
class ClassMeasures:
    """A class of a case; None where there is nothing to measure.

    Args:
        labelled: Voxels of the label.
        predicted: Voxels of the prediction.
        size: Of the label, in ml, or cm² in a 2d image.
        dice: Of both.
        nsd: Surface Dice at 2 voxels.
        inside: Voxels that are confidently predicted as the class and labelled as background, by those of the larger
            of both; None without probabilities.
        outside: The same of voxels that are labelled as the class and confidently predicted as background.
        distance: Mean distance in mm of the label's surface from that of the prediction: negative if the label is
            smaller. Components that the prediction does not touch do not count.
        missed: Components of the prediction that the label does not touch.
        extra: Components of the label that the prediction does not touch.
        other: The other class that most voxels of the label are predicted as.
        other_share: Their share.
        shift: What shifting this class alone would gain; None if nothing.
    """

    labelled: int
    predicted: int
    size: float
    dice: float
    nsd: float
    inside: float | None = None
    outside: float | None = None
    distance: float | None = None
    missed: Untouched = field(default_factory=Untouched)
    extra: Untouched = field(default_factory=Untouched)
    other: str | None = None
    other_share: float = 0.0
    shift: Repair | None = None

    @property
    def volume(self) -> int:
        """Voxels of the larger of both."""
        return max(self.labelled, self.predicted)


def class_measures(
    pair: LabelPair, name: str, sure: NDArray[np.bool_] | None, other: tuple[str | None, float], shift: Repair | None
) -> ClassMeasures | None:
    """Measure a class; None if neither map has it.

    Args:
        pair: The case.
        name: The class.
        sure: Mask (D, H, W) of the voxels in which the prediction is confident; None without probabilities.
        other: See :class:`ClassMeasures`, with its share.
        shift: See there.
    """
    label, prediction, box = pair.masks(name)
    labelled, predicted = int(np.count_nonzero(label)), int(np.count_nonzero(prediction))
    if not (labelled or predicted):
        return None
    voxels = MaskPair(prediction, label, (1.0, 1.0, 1.0))
    never = EmptyRule(both=None, one=0.0)
    inside = outside = None
    if sure is not None:
        background = [array[box] == 0 for array in (pair.labels, pair.prediction)]
        inside = float(np.count_nonzero(sure[box] & prediction & background[0]) / max(labelled, predicted))
        outside = float(np.count_nonzero(sure[box] & label & background[1]) / max(labelled, predicted))
    own, missed = _untouched(prediction, label, sure, box)
    touched, extra = _untouched(label, prediction, sure, box)
    return ClassMeasures(
        labelled,
        predicted,
        labelled * pair.grid.voxel_size,
        dice(voxels) if labelled and predicted else 0.0,
        NSD.value(voxels, never) or 0.0,
        inside,
        outside,
        _mean_distance(touched, own, pair.grid.spacing) if touched.any() and own.any() else None,
        missed,
        extra,
        *other,
        shift,
    )


def _untouched(
    mask: NDArray[np.bool_], other: NDArray[np.bool_], sure: NDArray[np.bool_] | None, box: Box
) -> tuple[NDArray[np.bool_], Untouched]:
    """The components that the other mask touches, and what the others are."""
    components, number = ndimage.label(mask, NEIGHBOURS)
    sizes = np.bincount(components.ravel(), minlength=number + 1)
    alone = np.ones(number + 1, bool)
    alone[np.unique(components[other])] = False
    alone[0] = False
    if not alone.any():
        return mask, Untouched()
    weights = sizes
    if sure is not None:
        confident = np.bincount(components[sure[box]], minlength=number + 1)
        weights = np.where(CONFIDENT * confident >= sizes, sizes, confident)
    largest = int(np.lexsort((sizes, weights, alone))[-1])
    places = (round(float(each.mean())) for each in np.nonzero(components == largest))
    centre = tuple(side.start + place for side, place in zip(box, places, strict=True))
    return mask & ~alone[components], Untouched(int(alone.sum()), int(sizes[largest]), int(weights[largest]), centre)


def _mean_distance(label: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing: tuple[float, ...]) -> float:
    axes = [axis for axis, length in enumerate(label.shape) if length > 1]  # a 2d image has contours
    label, prediction = (mask.reshape([mask.shape[axis] for axis in axes]) for mask in (label, prediction))
    surface, of_prediction = (mask & ~ndimage.binary_erosion(mask) for mask in (label, prediction))
    distances = ndimage.distance_transform_edt(~of_prediction, sampling=[spacing[axis] for axis in axes])
    return float(np.where(prediction, -distances, distances)[surface].mean())
