"""What a fine-tuning changed: the scores of its start beside those of its checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

FORMAT = 1  # of the JSON
MEASURE = "pseudo Dice"
AGREEMENT = "agreement with the source"  # of a class that nobody annotated
START = "checkpoint_start.pth"
REMEDY = (
    "Predict with the start (-chk checkpoint_start.pth), or train again with a smaller initial_lr, more cases, or "
    "fine_tune.strategy=lora"
)


@dataclass(frozen=True)
class Guard:
    """The scores of the network that a fine-tuning starts from, on this fold's validation batches.

    Args:
        source: The file that it was filled from.
        classes: Names of all classes.
        known: Those of them whose rows in the segmentation head came from the source.
        before: Pseudo Dice of each class; NaN if it did not occur.
        kept: Classes whose labels the source's network has filled in: their scores say how much the networks agree, so
            no warning counts them.
    """

    source: str
    classes: tuple[str, ...]
    known: tuple[str, ...]
    before: tuple[float, ...]
    kept: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the content for a checkpoint: what :meth:`from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Guard:
        """Return what :meth:`as_json` was made from."""
        names = {key: tuple(content.get(key, ())) for key in ("classes", "known", "before", "kept")}
        return cls(source=content["source"], **names)

    def report(self, best: Sequence[float], final: Sequence[float]) -> Report:
        """Return the comparison with the epochs of the best and the final checkpoint.

        Args:
            best: Pseudo Dice of each class when ``checkpoint_best`` was written.
            final: The same in the last epoch.
        """
        return Report(self, tuple(best), tuple(final))


@dataclass(frozen=True)
class Report:
    """Before and after, class by class.

    Args:
        guard: The start.
        best: Pseudo Dice of each class of ``checkpoint_best``.
        final: The same of ``checkpoint_final``.
    """

    guard: Guard
    best: tuple[float, ...]
    final: tuple[float, ...]

    def lines(self) -> list[str]:
        """Return a table in Markdown, then a WARNING for each checkpoint that is worse than the start."""
        rows = ["| class | before | after | best | |", "|---|---|---|---|---|"]
        for name, before, best, final in self._rows():
            rows.append(f"| {name} | {_shown(before)} | {_shown(final)} | {_shown(best)} | {self._word(name, final)} |")
        return rows + self.warnings()

    def warnings(self) -> list[str]:
        """Return a line for each checkpoint whose mean over the known classes is below that of the start."""
        found = []
        for checkpoint, after in (("checkpoint_best.pth", self.best), ("checkpoint_final.pth", self.final)):
            pairs = self._pairs(after)
            if not pairs:
                continue
            before_mean, after_mean = (float(np.mean([pair[side] for pair in pairs.values()])) for side in (0, 1))
            if after_mean < before_mean:
                worse = ", ".join(f"{name} {b:.3f} -> {a:.3f}" for name, (b, a) in pairs.items() if a < b)
                found.append(
                    f"WARNING: {checkpoint} is worse than the model that the training started from, in the mean over "
                    f"the classes that it knew ({before_mean:.3f} -> {after_mean:.3f}): {worse}. {REMEDY}."
                )
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the content of ``fine_tuning.json``."""
        rows = [
            {
                "class": name,
                "known": name in self.guard.known,
                "before": _value(before),
                "best": _value(best),
                "after": _value(final),
                "verdict": self._word(name, final),
            }
            for name, before, best, final in self._rows()
        ]
        return {
            "format": FORMAT,
            "source": self.guard.source,
            "measure": MEASURE,
            "classes": rows,
            "warnings": self.warnings(),
        }

    def _rows(self) -> list[tuple[str, float, float, float]]:
        return list(zip(self.guard.classes, self.guard.before, self.best, self.final, strict=True))

    def _pairs(self, after: Sequence[float]) -> dict[str, tuple[float, float]]:
        """Return before and after of the known classes that were annotated and occurred both times."""
        rows = zip(self.guard.classes, self.guard.before, after, strict=True)
        scored = set(self.guard.known).difference(self.guard.kept)
        return {name: (b, a) for name, b, a in rows if name in scored and not (math.isnan(b) or math.isnan(a))}

    def _word(self, name: str, after: float) -> str:
        if name in self.guard.kept:
            return AGREEMENT
        if name not in self.guard.known:
            return "new"
        before = self.guard.before[self.guard.classes.index(name)]
        if math.isnan(before) or math.isnan(after):
            return "did not occur"
        return "better" if after > before else "worse" if after < before else "equal"


def _value(score: float) -> float | None:
    return None if math.isnan(score) else float(score)


def _shown(score: float) -> str:
    return "-" if math.isnan(score) else f"{score:.3f}"
