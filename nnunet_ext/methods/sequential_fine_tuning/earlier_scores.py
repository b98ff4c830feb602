"""What became of the earlier task: scores of three networks on the same validation batches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnunet_ext.evaluation.pseudo_dice import pseudo_dice

FORMAT = 1  # of the JSON
MEASURE = "pseudo Dice of the earlier task"


@dataclass(frozen=True)
class EarlierScores:
    """Scores of the earlier task by network and class.

    Args:
        classes: Names of the classes.
        of: By the network's name, pseudo Dice of each class; NaN if it did not occur.

    Example:
        >>> from nnunet_ext.methods.sequential_fine_tuning.earlier_scores import EarlierScores
        >>> scores = EarlierScores(("liver",), {"before": (0.9,), "after": (0.8,)})
        >>> print(*scores.lines(), sep="\\n")
        | earlier class | before | after |
        |---|---|---|
        | liver | 0.900 | 0.800 |
        | mean | 0.900 | 0.800 |
    """

    classes: tuple[str, ...]
    of: Mapping[str, tuple[float, ...]]

    @classmethod
    def of_steps(cls, classes: Sequence[str], outputs: Mapping[str, Sequence[Mapping[str, Any]]]) -> EarlierScores:
        """Return the scores that nnU-Net's validation steps give.

        Args:
            classes: Names of the classes.
            outputs: By the network's name, what the steps of all ranks returned, each with ``tp_hard``, ``fp_hard`` and
                ``fn_hard`` of shape (classes,).
        """
        return cls(tuple(classes), {name: pseudo_dice(steps) for name, steps in outputs.items()})

    def lines(self) -> list[str]:
        """Return a table in Markdown."""
        rows = [f"| earlier class | {' | '.join(self.of)} |", "|---" * (1 + len(self.of)) + "|"]
        for number, name in enumerate(self.classes):
            shown = " | ".join(_shown(scores[number]) for scores in self.of.values())
            rows.append(f"| {name} | {shown} |")
        return [*rows, f"| mean | {' | '.join(_shown(_mean(scores)) for scores in self.of.values())} |"]

    def as_json(self) -> dict[str, Any]:
        """Return the content of the JSON file."""
        networks = {
            name: {
                "classes": dict(zip(self.classes, map(_value, scores), strict=True)),
                "mean": _value(_mean(scores)),
            }
            for name, scores in self.of.items()
        }
        return {"format": FORMAT, "measure": MEASURE, "networks": networks}


def _mean(scores: Sequence[float]) -> float:
    """Return the mean over the classes that occurred."""
    there = [score for score in scores if not math.isnan(score)]
    return sum(there) / len(there) if there else math.nan


def _value(score: float) -> float | None:
    return None if math.isnan(score) else score


def _shown(score: float) -> str:
    return "-" if math.isnan(score) else f"{score:.3f}"
