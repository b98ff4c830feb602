"""The unlabelled cases that a round trains on."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.files.json_file import write_text
from nnunet_ext.methods.self_training.stability import most_stable_first, stability
from nnunet_ext.semi_supervised.pseudo_labels import PseudoLabelled

HEADER = ["case", "stability", "kept"]


@dataclass(frozen=True)
class Selection:
    """The unlabelled cases by stability, and how many of them are kept.

    Args:
        stability: Of each case; None: no class was found.
        share: Share of the cases that is kept, rounded; at least one is.

    Example:
        >>> from nnunet_ext.methods.self_training.selection import Selection
        >>> Selection({"a": 0.7, "b": None, "c": 0.9, "d": 0.8, "e": 0.6}, share=0.6).kept
        ('a', 'c', 'd')
    """

    stability: Mapping[str, float | None]
    share: float

    @classmethod
    def between(
        cls,
        earlier: PseudoLabelled,
        later: PseudoLabelled,
        classes: Iterable[int | tuple[int, ...]],
        share: float,
    ) -> Selection:
        """Compare two predictions of the same cases; see :func:`stability`."""
        classes = list(classes)
        found = {case: stability(earlier.labels(case), later.labels(case), classes) for case in later.identifiers}
        return cls(found, share)

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the cases that are kept, sorted."""
        return tuple(sorted(self._ranked()[: self._number()]))

    def write(self, file: Path) -> None:
        """Write a line for each case, the most stable first: stability, empty if no class was found, and 1 if kept."""
        stream = io.StringIO()
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(HEADER)
        for place, case in enumerate(self._ranked()):
            value = self.stability[case]
            table.writerow([case, "" if value is None else f"{value:.6f}", int(place < self._number())])
        write_text(file, stream.getvalue())

    def summary(self) -> str:
        """Say how many cases are kept, and from which stability on."""
        values = [self.stability[case] for case in self.kept]
        known = [value for value in values if value is not None]
        least = f", stability {min(known):.3f} or more" if len(known) == len(values) else ", some without any class"
        return f"{len(values)} of {len(self.stability)} unlabelled cases kept{least}"

    def _ranked(self) -> list[str]:
        return most_stable_first(self.stability)

    def _number(self) -> int:
        return max(1, round(self.share * len(self.stability)))


def read_kept(file: Path) -> tuple[str, ...]:
    """Return the cases that were kept, from what :meth:`Selection.write` wrote."""
    with file.open(encoding="utf-8", newline="") as stream:
        return tuple(sorted(row["case"] for row in csv.DictReader(stream) if row["kept"] == "1"))
