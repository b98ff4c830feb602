"""The nearest legal name, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, legal: Iterable[str]) -> str:
    """Return ``Did you mean 'x'?`` and the legal names as one phrase that ends an error message."""
    legal = sorted(legal)
    lowered = {candidate.lower(): candidate for candidate in legal}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    hint = f"Did you mean {lowered[close[0]]!r}? " if close else ""
    return f"{hint}Legal: {', '.join(legal)}."
