"""What each shift costs a model, from the Dice of all cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

UNSHIFTED = "unshifted"
Dices = Mapping[str, float | None]  # by class; None where neither label map has it


@dataclass(frozen=True)
class ShiftScores:
    """Dice under one shift.

    Args:
        name: Of the shift, or ``unshifted``.
        cases: By case its Dice, the mean over its classes.
        mean: Over cases.
        drop: How much less than the same cases have without a shift.
    """

    name: str
    cases: dict[str, float]
    mean: float
    drop: float

    @property
    def worst(self) -> str:
        """Name of the case with the lowest Dice."""
        return min(self.cases, key=self.cases.__getitem__)


def shift_scores(dices: Mapping[str, Mapping[str, Dices]]) -> list[ShiftScores]:
    """Return what each shift costs, ``unshifted`` first.

    Args:
        dices: By case, by name of the shift, one of which is ``unshifted``, the Dice of each class. Classes that
            neither label nor prediction has do not count.

    Returns:
        In the order of the first case; a shift under which no case has a Dice is left out.

    Example:
        >>> found = shift_scores({"a": {"unshifted": {"organ": 0.9}, "blur 2": {"organ": 0.5}}})
        >>> [(each.name, each.mean, round(each.drop, 3), each.worst) for each in found]
        [('unshifted', 0.9, 0.0, 'a'), ('blur 2', 0.5, 0.4, 'a')]
    """
    unshifted = {case: mean for case, own in dices.items() if (mean := mean_dice(own[UNSHIFTED])) is not None}
    found = []
    for name in next(iter(dices.values()), {}):
        means = {case: mean_dice(dices[case][name]) for case in unshifted}
        cases = {case: mean for case, mean in means.items() if mean is not None}
        if cases:
            mean = fmean(cases.values())
            found.append(ShiftScores(name, cases, mean, fmean(unshifted[case] for case in cases) - mean))
    return found


def mean_dice(dices: Dices) -> float | None:
    """Return the mean over the classes that count; None if there is none."""
    values = [value for value in dices.values() if value is not None]
    return fmean(values) if values else None


def shift_rows(scores: Sequence[ShiftScores]) -> list[list[str]]:
    """Return the rows of a table, the header first."""
    rows = [["shift", "mean Dice", "drop", "worst Dice", "worst case"]]
    for each in scores:
        drop = "" if each.name == UNSHIFTED else f"{each.drop:.3f}"
        rows.append([each.name, f"{each.mean:.3f}", drop, f"{each.cases[each.worst]:.3f}", each.worst])
    return rows
