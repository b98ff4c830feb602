"""One decision of fine-tuning plans: what is taken, from where, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Origin = Literal["source", "target", "both", "flag"]
PHRASES: dict[Origin, str] = {
    "source": "kept from the source because",
    "target": "from your data because",
    "both": "the same in both:",
    "flag": "as asked:",
}


@dataclass(frozen=True)
class Decision:
    """A row of the table.

    Args:
        what: ``patch size`` and so on.
        value: What the plans will say, as JSON.
        origin: Where it is from.
        why: Ends the sentence that the origin begins.
        shown: The value in words; by default numbers joined by ``x``, or the text.
        warning: What the user should know before training, as one line; empty if nothing.
    """

    what: str
    value: Any
    origin: Origin
    why: str
    shown: str = ""
    warning: str = ""

    def row(self) -> tuple[str, str, str]:
        """Return what, value and reason in words."""
        return self.what, self.shown or in_words(self.value), f"{PHRASES[self.origin]} {self.why}"

    def as_json(self) -> dict[str, Any]:
        """Return the decision as it is written to a file."""
        return {"what": self.what, "value": self.value, "from": self.origin, "why": self.why, "warning": self.warning}


def in_words(value: Any) -> str:
    """Return numbers of axes as ``1 x 0.8 x 0.8``, and anything else as text."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " x ".join(f"{number:.4g}" if isinstance(number, float) else str(number) for number in value)
    return str(value)
