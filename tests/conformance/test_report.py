"""The page: symbols, features of several variants, numbered messages, and cells of two processes."""

from __future__ import annotations

import pytest
from report import Row, Table

ROWS = [Row("Group.", "size", "size, 2d"), Row("Group.", "size", "size, 3d"), Row("Group.", "alone", "alone")]


@pytest.fixture
def table() -> Table:
    """ATrainer passes all; BTrainer refuses 2d, and the third row has no meaning for it."""
    table = Table(["ATrainer", "BTrainer"])
    for row in ROWS:
        for trainer in table.trainers:
            table.cell(row, trainer, "steps" if row.title == "alone" else None).outcome = "passed"
    table.rows[ROWS[0]]["BTrainer"].refusal = "no  2d"
    table.rows[ROWS[2]]["BTrainer"].not_applicable = "has one stage"
    return table


def lines(table: Table) -> list[str]:
    return table.markdown("pytest").splitlines()


def test_one_symbol_for_a_feature_then_its_variants(table: Table) -> None:
    page = lines(table)
    assert "| feature | how | A | B |" in page
    for line in ("| size | commands | ✓ | ◐ |", "| alone | steps | ✓ | n/a |"):
        assert page.index("## Group") < page.index(line) < page.index("## Details")
    for line in ("| size, 2d | ✓ | ✗ 1 |", "| size, 3d | ✓ | ✓ |", "| alone | ✓ | n/a 1 |"):
        assert page.index(line) > page.index("## Details")
    assert page.index("1. `no 2d`") > page.index("## Messages")
    assert page.index("1. has one stage") > page.index("## Not applicable")


@pytest.mark.parametrize(("outcome", "symbol"), [("failed", "**FAIL**"), ("not run", "?"), ("skipped", "?")])
def test_the_worst_variant_is_shown(table: Table, outcome: str, symbol: str) -> None:
    table.rows[ROWS[1]]["ATrainer"].outcome = outcome
    assert f"| size | commands | {symbol} | ◐ |" in lines(table)
    table.rows[ROWS[0]]["ATrainer"].outcome = "failed"
    assert "| size | commands | **FAIL** | ◐ |" in lines(table)


def test_two_processes_have_a_part_each(table: Table) -> None:
    whole = lines(table)
    halves = [Table(table.trainers), Table(table.trainers)]
    for half, kept in zip(halves, ("ATrainer", "BTrainer"), strict=True):
        half.merge(table.plain())
        for cells in half.rows.values():
            for trainer, cell in cells.items():
                cell.outcome = cell.outcome if trainer == kept else "not run"
    joined = Table(table.trainers)
    for half in halves:
        joined.merge(half.plain())
    assert lines(joined) == whole
