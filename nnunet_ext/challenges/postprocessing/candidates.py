"""The rules that are tried, and in which order structures are treated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_ext.challenges.challenge import Structure
from nnunet_ext.challenges.postprocessing.case_components import CaseComponents
from nnunet_ext.challenges.postprocessing.rule import LARGEST, MINIMUM_VOLUME, TOUCHING, Rule

VOLUMES = 6  # minimum volumes that are tried for each structure
DIGITS = 3  # to which they are rounded
MOST_KEPT = 2  # paired organs have two components


@dataclass(frozen=True)
class Candidates:
    """The rules that are tried for one structure.

    Args:
        structure: The structure.
        rules: Those that remove little come first.
        level: Structures are treated level by level: those that share voxels with it, or that it may have to touch,
            and are larger, have lower levels.
    """

    structure: Structure
    rules: tuple[Rule, ...]
    level: int


def candidates(structures: Sequence[Structure], cases: Sequence[CaseComponents]) -> list[Candidates]:
    """Choose the rules to try by predictions alone, without their references.

    - Six minimum volumes, at equal ratios from the smallest component to the median of the cases' largest ones.
    - Touching: the larger structure that the largest component touches in most cases, if in at least half of them.
    - The two largest components, or the largest one, where a case has more.

    Args:
        structures: Of the challenge.
        cases: The components of all predictions.

    Returns:
        Candidates of each structure for which there is a rule, the larger structures first.
    """
    sizes = [sum(sum(case.volumes.get(each.name, ())) for case in cases) for each in structures]
    order = sorted(range(len(structures)), key=lambda number: (-sizes[number], -len(structures[number].labels), number))
    found: list[Candidates] = []
    levels: dict[str, int] = {}
    for place, number in enumerate(order):
        own, larger = structures[number], [structures[other] for other in order[:place]]
        touched = _touched(own, larger, cases)
        before = [levels[each.name] for each in larger if set(each.labels) & set(own.labels) or each is touched]
        levels[own.name] = max(before, default=-1) + 1
        rules = [
            *(Rule(own.name, MINIMUM_VOLUME, volume) for volume in _volumes(own.name, cases)),
            *([] if touched is None else [Rule(own.name, TOUCHING, touched.name)]),
            *(Rule(own.name, LARGEST, count) for count in range(MOST_KEPT, 0, -1) if _most(own.name, cases) > count),
        ]
        if rules:
            found.append(Candidates(own, tuple(rules), levels[own.name]))
    return found


def _volumes(name: str, cases: Sequence[CaseComponents]) -> list[float]:
    there = [case.volumes[name] for case in cases if name in case.volumes]
    if not there:
        return []
    smallest, usual = min(volumes[-1] for volumes in there), float(np.median([volumes[0] for volumes in there]))
    steps = np.geomspace(smallest, usual, VOLUMES + 2)[1:-1]
    found = {float(f"{step:.{DIGITS}g}") for step in steps}
    return sorted(each for each in found if each > smallest)


def _touched(own: Structure, larger: Sequence[Structure], cases: Sequence[CaseComponents]) -> Structure | None:
    contacts = [case.contact[own.name] for case in cases if own.name in case.contact]
    counts = {
        each.name: (sum(each.name in contact for contact in contacts), sum(c.get(each.name, 0) for c in contacts))
        for each in larger
    }
    best = max(larger, key=lambda each: counts[each.name], default=None)
    if best is None or 2 * counts[best.name][0] < len(contacts) or not contacts:
        return None
    return best


def _most(name: str, cases: Sequence[CaseComponents]) -> int:
    return max((len(case.volumes.get(name, ())) for case in cases), default=0)
