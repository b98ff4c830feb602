"""Why a case is suspicious: a sentence, and a number from 0 to 1 that all signals share."""

from __future__ import annotations

from dataclasses import dataclass

THRESHOLD = 0.5  # from here on a case should be looked at
SHOWN = 0.25  # what is less suspicious is no reason
UNUSUAL = 3.5  # z-score at the threshold: the limit of Iglewicz and Hoaglin (1993) for outliers
RARE = 0.05  # share of the training cases at the threshold
CERTAIN = 1.0


@dataclass(frozen=True)
class Reason:
    """Something unusual in a case.

    Args:
        kind: One word: ``volume``, ``missing``, ``spacing`` and so on.
        text: A sentence without its full stop, such as ``left kidney: 12 ml, training cases have 95 to 240 ml``.
        suspicion: 0 to 1; :data:`THRESHOLD` and more should be looked at.
        class_name: The class that it is about, which the picture shows.
    """

    kind: str
    text: str
    suspicion: float = CERTAIN
    class_name: str | None = None

    @classmethod
    def of_distance(cls, kind: str, text: str, z: float, class_name: str | None = None) -> Reason:
        """Return the reason for a value that is far from those of the training cases.

        Args:
            kind: See the class.
            text: See the class.
            z: What :func:`nnunet_ext.quality.robust_z.robust_z` returns; 3.5 is at the threshold.
            class_name: See the class.
        """
        return cls(kind, text, z / (z + UNUSUAL), class_name)

    @classmethod
    def of_event(
        cls, kind: str, text: str, seen: int, cases: int, class_name: str | None = None, *, rare: float = RARE
    ) -> Reason:
        """Return the reason for something that few training cases show.

        Args:
            kind: See the class.
            text: See the class.
            seen: Training cases that show it.
            cases: All training cases; what 0 of 9 show is at the threshold, what 0 of 3 show is below.
            class_name: See the class.
            rare: Share of the training cases at the threshold.
        """
        share = (seen + 0.5) / (cases + 1)  # not 0: what none of a few shows can still be common
        return cls(kind, text, rare / (rare + share), class_name)
