"""What moving the whole label, or exchanging two classes, would gain: flips, shifts and swapped numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.labels.suspects.label_pair import LabelPair

FARTHEST = 5  # voxels along each axis
HARM = 0.05  # fall of a class's Dice with which the whole label is not called shifted
STEPS = tuple(step for step in itertools.product((-1, 0, 1), repeat=3) if any(step))
SHIFTED, MIRRORED, SWAPPED = "shifted", "mirrored", "swapped"


@dataclass(frozen=True)
class Repair:
    """A change of a label that makes it more like the prediction.

    Args:
        kind: ``shifted``, ``mirrored`` or ``swapped``: the fault that it repairs.
        gain: By how much the Dice rises; for ``swapped``, the share of either class that is predicted as the other.
        dice: After it.
        detail: Voxels by which the label is shifted along the axes (D, H, W); the axis, 0 to 2, that is mirrored; or
            the two labels that are exchanged.
    """

    kind: str
    gain: float
    dice: float
    detail: tuple[int, ...]


def whole_repairs(pair: LabelPair) -> list[Repair]:
    """Return what moving all classes together, and exchanging two of them, would gain; only gains above 0.

    Dice is that of all classes together: twice the voxels of the foreground that have the same label in both maps, by
    the voxels of the foreground of both.
    """
    labels, prediction = pair.labels, pair.prediction
    foreground = int(np.count_nonzero(labels)) + int(np.count_nonzero(prediction))
    if not (labels.any() and prediction.any()):
        return []

    def dice(one: NDArray[np.int32], other: NDArray[np.int32]) -> float:
        return 2 * int(np.count_nonzero((one == other) & (one > 0))) / foreground

    before = dice(labels, prediction)
    found = _swapped(pair, before * foreground / 2, foreground)
    for axis, length in enumerate(labels.shape):
        if length > 1:
            after = dice(np.flip(labels, axis), prediction)
            found.append(Repair(MIRRORED, after - before, after, (axis,)))
    shift, after = _best_shift(labels[pair.box], prediction[pair.box], dice, before)
    if not _harms_a_class(labels[pair.box], prediction[pair.box], shift):
        found.append(Repair(SHIFTED, after - before, after, shift))
    return [repair for repair in found if repair.gain > 0]


def class_shift(pair: LabelPair, name: str) -> Repair | None:
    """Return what shifting one class alone would gain; None if nothing."""
    labels, prediction, _ = pair.masks(name)
    foreground = int(np.count_nonzero(labels)) + int(np.count_nonzero(prediction))
    if not (labels.any() and prediction.any()):
        return None

    def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
        return 2 * int(np.count_nonzero(one & other)) / foreground

    before = dice(labels, prediction)
    shift, after = _best_shift(labels, prediction, dice, before)
    return Repair(SHIFTED, after - before, after, shift) if after > before else None


def _best_shift(
    labels: NDArray, prediction: NDArray, dice: Callable[[NDArray, NDArray], float], before: float
) -> tuple[tuple[int, ...], float]:
    """The shift of the label, from no shift and from that of the centres of gravity upwards to the nearest best one."""
    known: dict[tuple[int, ...], float] = {(0, 0, 0): before}

    def value(shift: tuple[int, ...]) -> float:
        if shift not in known:
            known[shift] = dice(*_moved(labels, prediction, shift))
        return known[shift]

    apart = [
        float(np.mean(one) - np.mean(other))
        for one, other in zip(np.nonzero(labels), np.nonzero(prediction), strict=True)
    ]
    starts = {(0, 0, 0), _within([round(each) for each in apart], labels.shape)}
    for start in sorted(starts):
        shift = start
        while True:
            nearby = {_within([s + d for s, d in zip(shift, step, strict=True)], labels.shape) for step in STEPS}
            best = max(sorted(nearby), key=value)
            if value(best) <= value(shift):
                break
            shift = best
    best = max(sorted(known), key=lambda each: (known[each], -sum(map(abs, each))))
    return best, known[best]


def _within(shift: list[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    """At most 5 voxels, and not out of the box."""
    most = (min(FARTHEST, length - 1) for length in shape)
    return tuple(max(-limit, min(limit, each)) for each, limit in zip(shift, most, strict=True))


def _moved(labels: NDArray, prediction: NDArray, shift: tuple[int, ...]) -> tuple[NDArray, NDArray]:
    """The label at shift + x, and the prediction at x."""
    sides = [_overlap(step, length) for step, length in zip(shift, labels.shape, strict=True)]
    return labels[tuple(side[0] for side in sides)], prediction[tuple(side[1] for side in sides)]


def _harms_a_class(labels: NDArray[np.int32], prediction: NDArray[np.int32], shift: tuple[int, ...]) -> bool:
    """Whether the Dice of a class falls, so that not all of them are shifted."""
    number = max(int(labels.max()), int(prediction.max())) + 1
    both = np.bincount(labels.ravel(), minlength=number) + np.bincount(prediction.ravel(), minlength=number)

    def common(one: NDArray[np.int32], other: NDArray[np.int32]) -> NDArray[np.int64]:
        return np.bincount(one[one == other], minlength=number)

    gains = 2 * (common(*_moved(labels, prediction, shift)) - common(labels, prediction)) / np.maximum(both, 1)
    return bool((gains[1:] < -HARM).any())


def _overlap(shift: int, length: int) -> tuple[slice, slice]:
    return slice(max(0, shift), length + min(0, shift)), slice(max(0, -shift), length - max(0, shift))


def _swapped(pair: LabelPair, common: float, foreground: int) -> list[Repair]:
    """Of the pairs of classes that are most often taken for each other, the one whose exchange helps most."""
    counts = confusion(pair)
    totals = counts.sum(1)
    best: Repair | None = None
    for one, other in itertools.combinations(pair.names, 2):
        if totals[one] and totals[other]:
            share = min(counts[one, other] / totals[one], counts[other, one] / totals[other])
            after = common - counts[one, one] - counts[other, other] + counts[one, other] + counts[other, one]
            repair = Repair(SWAPPED, float(share), float(2 * after / foreground), (one, other))
            best = repair if best is None or repair.gain > best.gain else best
    return [] if best is None else [best]


def confusion(pair: LabelPair) -> NDArray[np.int64]:
    """Return how many voxels of each label (rows) are predicted as each label (columns)."""
    number = max(0, *pair.names, int(pair.labels.max()), int(pair.prediction.max())) + 1
    joint = pair.labels[pair.box] * number + pair.prediction[pair.box]
    return np.bincount(joint.ravel(), minlength=number**2).reshape(number, number)
