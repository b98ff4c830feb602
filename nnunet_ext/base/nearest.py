"""The nearest legal name, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SHOWN = 12  # of a longer list only the names nearest to the wrong one are shown


def nearest(name: str, legal: Iterable[str]) -> str:
    """Return ``Did you mean 'x'?`` and the legal names as one phrase that ends an error message."""
    legal = sorted(legal)
    lowered = {candidate.lower(): candidate for candidate in legal}
    close = [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=SHOWN, cutoff=0.0)]
    similar = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    hint = f"Did you mean {lowered[similar[0]]!r}? " if similar else ""
    if len(legal) > SHOWN:
        return f"{hint}Legal: {', '.join(close)} and {len(legal) - len(close)} more."
    return f"{hint}Legal: {', '.join(legal) or 'none'}."
