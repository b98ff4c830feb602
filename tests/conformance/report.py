"""The conformance table and how it is written down."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, NamedTuple

PASS, REFUSED, NOT_APPLICABLE, PARTLY, FAIL, NOT_RUN = "✓", "✗", "n/a", "◐", "**FAIL**", "?"
LEGEND = f"""\
| symbol | meaning |
| --- | --- |
| {PASS} | it ran to its end, and its results were checked |
| {REFUSED} | it cannot work, and the user sees a message before anything is lost; in the details, its number |
| {PARTLY} | it works in some variants (such as 3d) and is refused in others (such as 2d); the details tell which |
| {NOT_APPLICABLE} | it has no meaning for this trainer; in the details, the number of the reason |
| {FAIL}, {NOT_RUN} | it failed, or was not run; there should be none |

"How" tells what ran: nnU-Net's **commands**; single training and validation **steps** on the CPU, where nnU-Net takes
a path only on GPUs; or only **class**, network and loss.
"""


NOT_YET = "not run"


class Row(NamedTuple):
    """A row of the details; the rows of one feature are one row of the overview."""

    group: str
    feature: str
    title: str


@dataclass
class Cell:
    """What came of one row with one trainer."""

    level: str | None = None
    outcome: str = NOT_YET
    refusal: str = ""
    not_applicable: str = ""
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a remark that the table shows."""
        self.notes.append(text)


class Table:
    """Cells by row and trainer, in the order of collection."""

    def __init__(self, trainers: Sequence[str]) -> None:
        self.trainers = trainers
        self.rows: dict[Row, dict[str, Cell]] = {}

    def cell(self, row: Row, trainer: str, level: str | None) -> Cell:
        """Return the cell, new if need be."""
        return self.rows.setdefault(row, {}).setdefault(trainer, Cell(level))

    def plain(self) -> list[Any]:
        """Return the cells as pytest-xdist can send them."""
        return [[*row, each, asdict(cell)] for row, cells in self.rows.items() for each, cell in cells.items()]

    def merge(self, plain: list[Any]) -> None:
        """Take another process's outcomes."""
        for *row, trainer, values in plain:
            cells = self.rows.setdefault(Row(*row), {})
            if trainer not in cells or values["outcome"] != NOT_YET:
                cells[trainer] = Cell(**values)

    def markdown(self, command: str) -> str:
        """Return the document: overview, details, messages, reasons."""
        errors: list[str] = []
        reasons: list[str] = []
        lines = [
            "# Conformance",
            "",
            "What each trainer does with each feature of nnU-Net, on seeded phantoms, through nnU-Net's own commands.",
            "A trainer of collections is trained on a collection of the row's dataset and a small companion;",
            "prediction and all that follows run on the dataset's task view.",
            "",
            LEGEND,
            "This page is generated; do not edit it. The command:",
            "",
            f"    {command}",
            "",
            ", ".join([*(f"{name} {version(name)}" for name in ("nnunet_ext", "nnunetv2", "torch")),
                       f"Python {platform.python_version()}", f"{platform.system()}, {os.cpu_count()} CPU cores."]),
            "",
        ]  # fmt: skip
        for group in dict.fromkeys(row.group for row in self.rows):
            lines += [f"## {group.rstrip('.')}", "", *self._head("feature", "how")]
            for feature in dict.fromkeys(row.feature for row in self.rows if row.group == group):
                rows = [cells for row, cells in self.rows.items() if (row.group, row.feature) == (group, feature)]
                how = next((cell.level for cell in rows[0].values() if cell.level), "commands")
                symbols = (_merged(_symbol(cells.get(each, Cell())) for cells in rows) for each in self.trainers)
                lines.append(_line(feature, how, *symbols))
            lines.append("")
        lines += ["## Details", "", "Every variant of every feature.", "", *self._head("variant")]
        for row, cells in self.rows.items():
            lines.append(_line(row.title, *(_show(cells.get(each, Cell()), errors, reasons) for each in self.trainers)))
        lines.append("")
        if errors:
            lines += ["## Messages", "", "What the user sees. TRAINER stands for the trainer's name.", ""]
            lines += [f"{number}. `{text}`" for number, text in enumerate(errors, 1)]
            lines.append("")
        if reasons:
            lines += ["## Not applicable", "", *(f"{number}. {text}" for number, text in enumerate(reasons, 1)), ""]
        return "\n".join(lines)

    def _head(self, *columns: str) -> list[str]:
        names = [*columns, *(trainer.removesuffix("Trainer") for trainer in self.trainers)]
        return [_line(*names), "| --- " * len(columns) + "| :-: " * len(self.trainers) + "|"]


def _line(*columns: str) -> str:
    return "| " + " | ".join(columns) + " |"


def _symbol(cell: Cell) -> str:
    if cell.not_applicable:
        return NOT_APPLICABLE
    if cell.outcome == "passed":
        return REFUSED if cell.refusal else PASS
    return FAIL if cell.outcome == "failed" else NOT_RUN


def _merged(symbols: Iterable[str]) -> str:
    """Return one symbol for the variants of a feature; the worst, if one failed or was not run."""
    different = set(symbols)
    for symbol in (FAIL, NOT_RUN):
        if symbol in different:
            return symbol
    return different.pop() if len(different) == 1 else PARTLY


def _show(cell: Cell, errors: list[str], reasons: list[str]) -> str:
    parts = [_symbol(cell)]
    if cell.not_applicable:
        parts.append(str(_number(cell.not_applicable, reasons)))
    elif parts == [REFUSED]:
        parts.append(str(_number(" ".join(cell.refusal.split()), errors)))
    return " ".join([*parts, *(f"({note})" for note in cell.notes)])


def _number(text: str, texts: list[str]) -> int:
    """Return the place of a text in a numbered list, where it is put if it is new."""
    if text not in texts:
        texts.append(text)
    return texts.index(text) + 1
