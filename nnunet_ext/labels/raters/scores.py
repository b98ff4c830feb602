"""How well predictions fit several raters, and how well these fit each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of soft Dice
SMOOTH = 1e-6


def dice(one: Mask, other: Mask) -> float:
    """Return the Dice of two masks; NaN if both are empty."""
    size = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / size if size else math.nan


def soft_dice(probability: NDArray[np.floating], raters: Sequence[NDArray]) -> float:
    """Return the mean of Dice at five thresholds, of the probability and of the raters' mean; one rater may be given.

    Args:
        probability: Of a class, any shape.
        raters: Masks of the same shape.

    Example:
        >>> import numpy as np
        >>> output = np.array([0.2, 0.4, 0.6, 0.8])
        >>> raters = [np.array(mask) for mask in ([0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1])]
        >>> round(soft_dice(output, raters), 6)
        0.771429
    """
    mean = np.mean([np.asarray(mask, float) for mask in raters], 0)
    found = []
    for threshold in THRESHOLDS:
        one, other = probability > threshold, mean > threshold
        found.append((2 * (one & other).sum() + SMOOTH) / (one.sum() + other.sum() + SMOOTH))
    return float(np.mean(found))


def energy_distance(predictions: Sequence[Mask], raters: Sequence[Mask], *, self_pairs: bool = True) -> float:
    """Return the generalized energy distance, with 1 - IoU (smooth 1) as distance of two masks.

    With the pairs of each mask with itself it is 0 if predictions and raters are the same masks, and never negative.
    Published code leaves them out; then it is negative there.

    Args:
        predictions: At least one mask.
        raters: At least one mask; two each without self-pairs.
        self_pairs: Count pairs of a mask with itself.

    Example:
        >>> import numpy as np
        >>> masks = [np.array([1, 1, 0, 0], bool), np.array([1, 1, 1, 0], bool)]
        >>> energy_distance(masks, masks), energy_distance(masks, masks, self_pairs=False)
        (0.0, -0.25)
    """
    between = _mean_distance(predictions, raters, skip_same=False)
    within = sum(_mean_distance(masks, masks, skip_same=not self_pairs) for masks in (predictions, raters))
    return 2 * between - within


def human_line(raters: Sequence[Mask]) -> tuple[float, float]:
    """Return the mean Dice of pairs of raters, and that of each rater to the majority of the others.

    Both are NaN for a single rater. The majority of two others is what both drew.
    """
    if len(raters) < 2:
        return math.nan, math.nan
    pairs = [dice(one, other) for one, other in combinations(raters, 2)]
    left_out = []
    for number, own in enumerate(raters):
        others = [mask for place, mask in enumerate(raters) if place != number]
        left_out.append(dice(own, majority_mask(others)))
    return _mean(pairs), _mean(left_out)


def majority_mask(raters: Sequence[Mask]) -> Mask:
    """Return the voxels that more than half of the raters drew."""
    votes: Mask = np.sum(raters, 0) * 2 > len(raters)
    return votes


def class_scores(
    prediction: Mask,
    raters: Mapping[str, Mask],
    *,
    views: Mapping[str, Mask] | None = None,
    probability: NDArray[np.floating] | None = None,
) -> dict[str, float]:
    """Return all scores of one class in one case by name.

    Args:
        prediction: The consensus.
        raters: Mask by rater; those who rated the case.
        views: The prediction of each rater's view; those of raters who left the case out do not count.
        probability: Of the consensus; None: there is no soft Dice, which means nothing for a mask.
    """
    views = views or {}
    masks = list(raters.values())
    found = {"majority dice": dice(prediction, majority_mask(masks))}
    found |= {f"dice {rater}": dice(prediction, mask) for rater, mask in raters.items()}
    found["mean dice"] = _mean([found[f"dice {rater}"] for rater in raters])
    found |= {f"view dice {rater}": dice(views[rater], mask) for rater, mask in raters.items() if rater in views}
    found["soft dice"] = math.nan if probability is None else soft_dice(probability, masks)
    found["ged"] = energy_distance([views[rater] for rater in raters if rater in views] or [prediction], masks)
    found["inter-rater dice"], found["leave-one-out dice"] = human_line(masks)
    found |= {f"volume / {rater}": _ratio(prediction, mask) for rater, mask in raters.items()}
    found |= {f"view volume / {rater}": _ratio(views[rater], mask) for rater, mask in raters.items() if rater in views}
    return found


def _ratio(prediction: Mask, own: Mask) -> float:
    return int(prediction.sum()) / int(own.sum()) if own.any() else math.nan


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _mean_distance(ones: Sequence[Mask], others: Sequence[Mask], *, skip_same: bool) -> float:
    distances = [
        1 - (int((one & other).sum()) + 1) / (int((one | other).sum()) + 1)
        for place, one in enumerate(ones)
        for number, other in enumerate(others)
        if not (skip_same and place == number)
    ]
    return sum(distances) / len(distances)
