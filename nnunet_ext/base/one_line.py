"""Pieces of one-line error messages."""

from __future__ import annotations


def one_line(error: BaseException, *, last: bool = False) -> str:
    """Return the first line of an error's text (or the last, where some readers put the reason), else its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1 if last else 0] if lines else type(error).__name__


def more(number: int, thing: str = "case") -> str:
    """Return the end of a message about the first of several problems."""
    return f" (and {number} more {thing}{'s' * (number > 1)})" if number > 0 else ""
