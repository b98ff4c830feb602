"""What is known about one case: its reasons, the sizes of its classes, a picture."""

from __future__ import annotations

from dataclasses import dataclass, field

from nnunet_ext.quality.reason import SHOWN, THRESHOLD, Reason

# a wrong header or file makes other things unusual, too
CAUSES = ("file", "geometry", "labels", "constant", "spacing")


@dataclass
class CaseQuality:
    """A row of the page.

    Args:
        name: The case.
        reasons: Why it is suspicious, in any order.
        sizes: Size of each class of the prediction.
        unit: Of sizes, ``ml`` or ``cm²``.
        picture: A data URI, or None.
        failed: Whether it could not be looked at: a file is missing or damaged.
        digest: Of the label map, if it has a class.
    """

    name: str
    reasons: list[Reason] = field(default_factory=list)
    sizes: dict[str, float] = field(default_factory=dict)
    unit: str = "ml"
    picture: str | None = None
    failed: bool = False
    digest: str | None = None

    @property
    def suspicion(self) -> float:
        """That of the strongest reason, 0 without any."""
        return max((reason.suspicion for reason in self.reasons), default=0.0)

    @property
    def is_suspicious(self) -> bool:
        """Whether it should be looked at."""
        return self.suspicion >= THRESHOLD

    def strongest_first(self) -> list[Reason]:
        """Return the reasons that are worth a line, the strongest first; of those above the threshold, causes first."""
        shown = [reason for reason in self.reasons if reason.suspicion >= SHOWN]
        return sorted(shown, key=lambda reason: (not _is_cause(reason), -reason.suspicion))


def _is_cause(reason: Reason) -> bool:
    return reason.kind in CAUSES and reason.suspicion >= THRESHOLD


def suspicious_first(cases: list[CaseQuality]) -> list[CaseQuality]:
    """Return the cases by suspicion, then by the number of reasons above the threshold, then by name."""
    return sorted(
        cases,
        key=lambda case: (
            -round(case.suspicion, 6),
            -sum(reason.suspicion >= THRESHOLD for reason in case.reasons),
            case.name,
        ),
    )
