"""Rows of words as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Write a table, aligned for reading as it is; the first row is the header, the first column is flush left.

    Returns:
        The table without a final line break.
    """
    rows = [[in_cell(word) for word in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    header, *body = (_line(row, widths) for row in rows)
    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:]), ""])
    return "\n".join([header, rule, *body])


def in_cell(word: str) -> str:
    """Return a word in a form that a cell can hold: names may contain the character that ends a cell."""
    return word.replace("|", "\\|")


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
    return f"| {' | '.join(cells)} |"
