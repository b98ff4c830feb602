"""Numbers in the sentences of reasons."""

from __future__ import annotations

from collections.abc import Sequence

FEW = 5  # training cases, with fewer of which a sentence says so


def amount(value: float) -> str:
    """Return a number with three digits, or all before the point: ``0.0123``, ``12.3``, ``1234``."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def span(values: Sequence[float], unit: str = "") -> str:
    """Return the smallest and the largest of some values, such as ``95 to 240 ml``, or the one that all are.

    Args:
        values: At least one.
        unit: Follows the number.
    """
    low, high = amount(min(values)), amount(max(values))
    return f"{low if low == high else f'{low} to {high}'}{unit and f' {unit}'}"


def few(cases: int) -> str:
    """Return how many training cases a comparison rests on, if they are few; it ends a sentence."""
    return f" (only {cases} training case{'s' * (cases != 1)} to compare with)" if cases < FEW else ""


def of_cases(seen: int, cases: int) -> str:
    """Return ``in none of 20 training cases`` or ``in only 1 of 20 training cases``."""
    return f"in {'none' if seen == 0 else f'only {seen}'} of {cases} training case{'s' * (cases != 1)}"
