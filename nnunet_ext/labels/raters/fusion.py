"""One label map of those of several raters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Regions = Sequence[Sequence[int]]
WAYS = ("majority", "staple")
STEPS = 100  # at most, of STAPLE


def majority(
    maps: Sequence[NDArray[Any]],
    labels: int,
    *,
    regions: Regions | None = None,
    order: Sequence[int] = (),
    ignore: int | None = None,
) -> NDArray[np.uint8]:
    """Return what most raters say.

    Labels: the one that most raters give; of several, the lowest. Regions: each holds the voxels that more than half
    of the raters put into it, and they are painted as nnU-Net does. A rater's ignored voxels are no vote; where nobody
    votes, the voxel is ignored.

    Args:
        maps: At least one label map (D, H, W).
        labels: Number of labels, background included, without the ignore label.
        regions: Labels of each region; None if the classes are labels.
        order: With regions, the value that each is painted with, as ``regions_class_order``.
        ignore: The ignore label.

    Example:
        >>> import numpy as np
        >>> majority([np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([2, 1, 0])], 3).tolist()
        [0, 1, 1]
    """
    stack = np.stack(maps)
    votes = np.ones(stack.shape, bool) if ignore is None else stack != ignore
    number = votes.sum(0)
    if regions is None:
        counts = np.stack([((stack == label) & votes).sum(0) for label in range(labels)])
        found = counts.argmax(0).astype(np.uint8)
    else:
        found = np.zeros(stack.shape[1:], np.uint8)
        for region, value in zip(regions, order, strict=True):
            found[(np.isin(stack, region) & votes).sum(0) * 2 > number] = value
    if ignore is not None:
        found[number == 0] = ignore
    return found


def staple(
    maps: Sequence[NDArray[Any]],
    labels: int,
    *,
    regions: Regions | None = None,
    order: Sequence[int] = (),
    ignore: int | None = None,
) -> NDArray[np.uint8]:
    """Return the labels that STAPLE [0] finds most probable, from SimpleITK, each class against all others.

    It estimates each rater's sensitivity and specificity and weighs them by these. A voxel has the class of the highest
    probability above one half, else background; regions are painted where theirs is above one half. Voxels that a rater
    ignores are no part of the estimate: they get the :func:`majority` of the others.

    Args:
        maps: At least one label map (D, H, W).
        labels: See :func:`majority`.
        regions: See there.
        order: See there.
        ignore: See there.

    [0] Warfield et al., Simultaneous truth and performance level estimation (STAPLE), IEEE TMI 2004
    """
    stack = np.stack(maps)
    if ignore is not None and (some := (stack == ignore).any(0)).any():
        found = majority(maps, labels, regions=regions, order=order, ignore=ignore)
        if not some.all():
            found[~some] = staple(list(stack[:, None, ~some]), labels, regions=regions, order=order)[0]
        return found
    classes: Regions = [(label,) for label in range(1, labels)] if regions is None else regions
    values = range(1, labels) if regions is None else order
    best, found = np.full(stack.shape[1:], 0.5), np.zeros(stack.shape[1:], np.uint8)
    for members, value in zip(classes, values, strict=True):
        probability = _probability(np.isin(stack, members))
        taken = probability > (best if regions is None else 0.5)
        found[taken], best[taken] = value, probability[taken]
    return found


def _probability(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """STAPLE's probability of masks (R, D, H, W) or (R, 1, N); a mask that all raters agree on needs no estimate."""
    import SimpleITK

    if (masks == masks[:1]).all():
        return masks[0].astype(float)
    images = [SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
    return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.STAPLE(images, 1.0, 1, STEPS)), float)


FUSED = {"majority": majority, "staple": staple}


def classes_of(description: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of :func:`majority` and :func:`staple` that a dataset.json decides.

    Args:
        description: Its content.
    """
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    manager = LabelManager(description["labels"], regions_class_order=description.get("regions_class_order"))
    found: dict[str, Any] = {"labels": len(manager.all_labels), "ignore": manager.ignore_label}
    if manager.has_regions:
        found["regions"] = [np.atleast_1d(region).tolist() for region in manager.foreground_regions]
        found["order"] = list(manager.regions_class_order)
    return found
