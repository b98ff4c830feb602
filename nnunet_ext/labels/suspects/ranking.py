"""Which labels stand out among all cases, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import theilslopes

from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.labels.suspects.case_measures import CaseMeasures
from nnunet_ext.labels.suspects.class_measures import ClassMeasures
from nnunet_ext.labels.suspects.reasons import ABSENT, LACKING, Words
from nnunet_ext.labels.suspects.repairs import MIRRORED, SHIFTED, SWAPPED
from nnunet_ext.quality.case_quality import CaseQuality
from nnunet_ext.quality.reason import UNUSUAL, Reason
from nnunet_ext.quality.robust_z import MOST, OF_NORMAL

# the least spread between cases that counts; z-scores reach 3.5 at 3.5 times as much
OF_DICE, OF_CONFIDENT, OF_COMPONENT, OF_BEYOND, OF_OTHER = 0.02, 0.05, 0.02, 0.02, 0.1
OF_DISTANCE = 0.3  # voxels
# of a whole label; they do not depend on the other cases
GAINS = {SHIFTED: 0.05 / UNUSUAL, MIRRORED: 0.1 / UNUSUAL, SWAPPED: 0.5 / UNUSUAL}
FITTED = 5  # cases, with fewer of which the Dice is not compared by volume
SPECIFIC_FIRST: tuple[tuple[str, ...], ...] = (
    (LACKING, ABSENT),
    (SHIFTED,),
    ("other",),
    ("missed", "extra", "distance"),
    ("inside", "outside"),
    ("dice",),
)
LARGEST_FIT = 1000  # cases: the slope takes all pairs


@dataclass(frozen=True)
class RankedCase:
    """A case with what stands out.

    Args:
        measures: The case.
        dice_z: z-score of 1 - Dice by class, among cases of similar volume.
        reasons: Why it is suspect; the first one names the cause.
        classes: The classes that they are about.
        rank: The largest z-score, 0 to 40.
    """

    measures: CaseMeasures
    dice_z: dict[str, float]
    reasons: tuple[Reason, ...]
    classes: tuple[str, ...]
    rank: float

    @property
    def suspicion(self) -> float:
        """Of the first reason, 0 to 1; that of the rank without any."""
        return max((each.suspicion for each in self.reasons), default=self.rank / (self.rank + UNUSUAL))

    def as_quality(self) -> CaseQuality:
        """Return the row of the page of ``qa``."""
        case = self.measures
        sizes = {name: each.size for name, each in case.classes.items()}
        failed = case.problem is not None
        return CaseQuality(case.name, list(self.reasons), sizes, case.unit, case.picture, failed)


def rank(cases: Sequence[CaseMeasures], description: Mapping[str, Any]) -> list[RankedCase]:
    """Compare all cases with each other.

    Args:
        cases: In any order, which changes nothing; nor do their names.
        description: dataset.json, with labels as numbers.

    Returns:
        The cases by rank, the most suspicious one first, equal ones by name.
    """
    words = Words(description)
    measured = [case for case in cases if case.problem is None]
    moved = {kind: [min(_gain(case, kind) / unit, MOST) for case in measured] for kind, unit in GAINS.items()}
    beyond = _z([case.beyond for case in measured], OF_BEYOND)
    of_classes = {name: _class_scores(measured, name) for name in foreground_classes(description)}
    found = []
    for place, case in enumerate(measured):
        scores = {name: scored[place] for name, scored in of_classes.items() if place in scored}
        of_repairs = {kind: moved[kind][place] for kind in GAINS}
        found.append(_ranked(case, words, of_repairs, beyond[place], scores))
    failed = [
        RankedCase(case, {}, (Reason("file", case.problem),), (), MOST) for case in cases if case.problem is not None
    ]
    return sorted([*failed, *found], key=lambda each: (-round(each.rank, 6), each.measures.name))


def _ranked(
    case: CaseMeasures,
    words: Words,
    moved: Mapping[str, float],
    beyond: float,
    scores: Mapping[str, Mapping[str, float]],
) -> RankedCase:
    highest = max([beyond, *moved.values(), *(z for own in scores.values() for z in own.values()), 0.0])
    dice_z = {name: own["dice"] for name, own in scores.items()}
    causes = [repair for repair in case.repairs if moved[repair.kind] >= UNUSUAL]
    alone = any(own.get(kind, 0) >= UNUSUAL for own in scores.values() for kind in (LACKING, ABSENT))
    if causes and not alone:  # one movement, or an exchange, explains what else is unusual
        cause = max(causes, key=lambda repair: repair.dice)
        reason = Reason.of_distance(cause.kind, words.of_repair(cause), highest)
        return RankedCase(case, dice_z, (reason,), words.classes_of(cause, case), highest)
    reasons = []
    if beyond >= UNUSUAL:
        reasons.append(Reason.of_distance("beyond", words.of_beyond(case.beyond), beyond))
    for name, own in scores.items():
        reasons += _class_reasons(case.classes[name], name, own, words)
    reasons.sort(key=lambda each: -each.suspicion)
    named = tuple(dict.fromkeys(each.class_name for each in reasons if each.class_name is not None))
    classes = tuple(case.classes) if any(each.class_name is None for each in reasons) else named
    return RankedCase(case, dice_z, tuple(reasons), classes, highest)


def _class_reasons(found: ClassMeasures, name: str, scores: Mapping[str, float], words: Words) -> list[Reason]:
    """The most specific ones; they have the z-scores of what follows from them."""
    for kinds in SPECIFIC_FIRST:
        unusual = sorted((kind for kind in kinds if scores.get(kind, 0) >= UNUSUAL), key=lambda kind: -scores[kind])
        if unusual:
            highest = {unusual[0]: max(scores.values())}
            return [
                Reason.of_distance(kind, words.of_class(kind, name, found), highest.get(kind, scores[kind]), name)
                for kind in unusual
            ]
    return []


def _class_scores(cases: Sequence[CaseMeasures], name: str) -> dict[int, dict[str, float]]:
    """The z-scores of a class, by kind, in the cases in which label or prediction have it."""
    found = {place: case.classes[name] for place, case in enumerate(cases) if name in case.classes}
    if not found:
        return {}
    usual = float(np.median([each.labelled for each in found.values() if each.labelled] or [1]))
    scores: dict[int, dict[str, float]] = {place: {} for place in found}

    def add(kind: str, measured: Mapping[int, float], floor: float, *, either: bool = False) -> None:
        places = list(measured)
        for place, z in zip(places, _z(list(measured.values()), floor), strict=True):
            scores[place][kind] = min(abs(z), MOST) if either else z

    add("dice", _beside_volume(found), OF_DICE)
    both = {place: each for place, each in found.items() if each.labelled and each.predicted}
    shifts = {place: 0.0 if each.shift is None else each.shift.gain for place, each in both.items()}
    add(SHIFTED, shifts, GAINS[SHIFTED])
    add("other", {place: each.other_share for place, each in both.items()}, OF_OTHER)
    for kind, sizes in (
        ("missed", {place: each.missed.weight for place, each in both.items()}),
        ("extra", {place: each.extra.weight for place, each in both.items()}),
        (LACKING, {place: 0 if each.labelled else each.predicted for place, each in found.items()}),
        (ABSENT, {place: 0 if each.predicted else each.labelled for place, each in found.items()}),
    ):
        add(kind, {p: size / max(usual, found[p].labelled) for p, size in sizes.items()}, OF_COMPONENT)
    distances = {p: each.distance / cases[p].voxel for p, each in both.items() if each.distance is not None}
    add("distance", distances, OF_DISTANCE, either=True)
    add("inside", {p: each.inside for p, each in both.items() if each.inside is not None}, OF_CONFIDENT)
    add("outside", {p: each.outside for p, each in both.items() if each.outside is not None}, OF_CONFIDENT)
    return scores


def _beside_volume(found: Mapping[int, ClassMeasures]) -> dict[int, float]:
    """1 - Dice, less what the volume lets expect: Theil and Sen's slope, which outliers do not change."""
    losses = np.array([1 - each.dice for each in found.values()])
    volumes = np.log([each.volume for each in found.values()])
    if len(losses) >= FITTED and np.ptp(volumes) > 0:
        step = -(-len(losses) // LARGEST_FIT)
        order = np.lexsort((losses, volumes))[::step]
        slope = float(theilslopes(losses[order], volumes[order])[0])
        losses = losses - min(slope, 0.0) * (volumes - np.median(volumes))  # large structures are never worse
    return dict(zip(found, map(float, losses), strict=True))


def _z(values: Sequence[float], floor: float) -> list[float]:
    """Distances above the median in robust standard deviations, at most 40."""
    if not len(values):
        return []
    array = np.asarray(values, float)
    median = np.median(array)
    spread = max(OF_NORMAL * float(np.median(np.abs(array - median))), floor)
    return [float(z) for z in np.minimum((array - median) / spread, MOST)]


def _gain(case: CaseMeasures, kind: str) -> float:
    return max((repair.gain for repair in case.repairs if repair.kind == kind), default=0.0)
