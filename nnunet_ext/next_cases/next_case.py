"""A case that was chosen, and the table of all that were."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from nnunet_ext.next_cases.choice import Choice
from nnunet_ext.next_cases.uncertain_box import Box
from nnunet_ext.quality.case_quality import CaseQuality

SIDES = [f"{axis}_{end}" for axis in "xyz" for end in ("first", "last")]
HEADER = ["rank", "case", "score", "suspicion", "distance", *SIDES, "reasons"]


@dataclass(frozen=True)
class NextCase:
    """A case to annotate.

    Args:
        name: The case.
        quality: What is unusual in it; None if it was chosen at random.
        choice: How it was chosen; None if at random.
        box: Where predictions disagree most, if they do.
    """

    name: str
    quality: CaseQuality | None = None
    choice: Choice | None = None
    box: Box | None = None

    def reasons(self) -> list[str]:
        """Return why it was chosen, in words, the strongest first."""
        if self.quality is None:
            return ["chosen at random"]
        shown = self.quality.strongest_first()
        if not shown:  # weak ones order the cases, too
            weak = [reason for reason in self.quality.reasons if reason.suspicion > 0]
            shown = sorted(weak, key=lambda reason: -reason.suspicion)[:1]
        return [f"{reason.kind}: {reason.text}" for reason in shown] or ["nothing unusual, but unlike the others"]


def next_cases_table(cases: Sequence[NextCase]) -> str:
    """Return the table as CSV with a header, a line for each case.

    Args:
        cases: The chosen cases, in their order, which gives them their ranks from 1 on.

    Returns:
        Columns: rank, case, score, suspicion, distance, the first and the last voxel of the box along x, y and z
        (counted from 0), reasons separated by `` | ``. What is not known is empty.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(HEADER)
    for rank, case in enumerate(cases, 1):
        numbers = [""] * 3
        if case.quality is not None and case.choice is not None:
            numbers = [f"{value:.4f}" for value in (case.choice.score, case.quality.suspicion, case.choice.distance)]
        box = [""] * 6
        if case.box is not None:
            box = [str(place) for ends in zip(case.box.first, case.box.last, strict=True) for place in ends]
        writer.writerow([rank, case.name, *numbers, *box, " | ".join(case.reasons())])
    return stream.getvalue()
