"""Which prediction belongs to which reference, and what happens to those without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.challenges.challenge import Challenge
from nnunet_ext.errors import UserError, more

MISSING = ("error", "worst", "skip")
EXTRA = ("error", "skip")


@dataclass(frozen=True)
class MatchedCase:
    """A case to score.

    Args:
        name: Of the case.
        prediction: Its file or folder; None if it is missing and counts as worst.
        reference: Its file or folder.
    """

    name: str
    prediction: Path | None
    reference: Path


@dataclass(frozen=True)
class MatchedCases:
    """All cases to score, and the others.

    Args:
        cases: By name.
        missing: References without a prediction.
        extra: Predictions without a reference.
    """

    cases: tuple[MatchedCase, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]


def match_cases(challenge: Challenge, predictions: Path, references: Path, *, missing: str, extra: str) -> MatchedCases:
    """Find the prediction of each reference.

    Args:
        challenge: It says where files lie.
        predictions: Folder.
        references: Folder.
        missing: For a reference without a prediction: ``error``, ``worst`` (the worst value of each metric counts) or
            ``skip``.
        extra: For a prediction without a reference: ``error`` or ``skip``.

    Raises:
        UserError: A prediction or a reference is missing, and that is an error; or no case is left.
    """
    predicted, expected = challenge.predictions(predictions), challenge.references(references)
    without = tuple(sorted(set(expected) - set(predicted)))
    others = tuple(sorted(set(predicted) - set(expected)))
    if others and extra == "error":
        raise UserError(
            f"{predicted[others[0]]}: expected a case of {references}, found {others[0]!r}{more(len(others) - 1)}. "
            f"Remove it, or leave such cases out with --extra skip."
        )
    if without and missing == "error":
        note = f" ({challenge.missing})" if challenge.missing else ""
        raise UserError(
            f"{predictions}: expected a prediction of {without[0]!r}, found none{more(len(without) - 1)}. Add it, or "
            f"choose --missing worst or skip{note}."
        )
    names = sorted(expected if missing == "worst" else set(expected) & set(predicted))
    if not names or not set(expected) & set(predicted):
        raise UserError(
            f"{predictions}: expected predictions of the cases of {references}, such as {next(iter(expected))!r}, "
            f"found none. Check both paths."
        )
    return MatchedCases(
        tuple(MatchedCase(name, predicted.get(name), expected[name]) for name in names), without, others
    )
