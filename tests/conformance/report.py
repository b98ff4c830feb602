"""The conformance table and how it is written down."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

Row = tuple[str, str]  # group, title

LEGEND = """\
* **pass**: the row ran to its end and its results were checked.
* **pass, step level**: stock code takes this path only on a GPU; single training and validation steps were run and
  checked on the CPU.
* **pass, no training**: class, network and loss were checked without a command.
* **refused**: it cannot work, and the user sees the error with that number below, before anything is lost.
* **n/a**: it has no meaning for this trainer; the reason has that number below.
* **FAIL**, **not run**: as they say. There should be none.
"""


@dataclass
class Cell:
    """What came of one row with one trainer."""

    level: str | None = None
    outcome: str = "not run"
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

    def markdown(self, command: str) -> str:
        """Return the document."""
        errors: list[str] = []
        reasons: list[str] = []
        lines = [
            "# Conformance",
            "",
            "Every trainer of nnunet_ext x every stock feature, on seeded phantoms, through nnU-Net's own commands.",
            "A trainer of collections is trained on a collection of the row's dataset and a small companion;",
            "prediction and all that follows run on the dataset's task view.",
            "This file is generated; do not edit it. The command:",
            "",
            f"    {command}",
            "",
            ", ".join([*(f"{name} {version(name)}" for name in ("nnunet_ext", "nnunetv2", "torch")),
                       f"Python {platform.python_version()}", f"{platform.system()}, {os.cpu_count()} CPU cores."]),
            "",
            LEGEND,
        ]  # fmt: skip
        for group in dict.fromkeys(group for group, _ in self.rows):
            rule = "| --- " * (1 + len(self.trainers)) + "|"
            lines += [f"## {group.rstrip('.')}", "", _line("", *self.trainers), rule]
            for (of, title), cells in self.rows.items():
                if of == group:
                    shown = (_show(cells.get(trainer, Cell()), errors, reasons) for trainer in self.trainers)
                    lines.append(_line(title, *shown))
            lines.append("")
        if errors:
            lines += ["## What the user sees", "", "TRAINER stands for the trainer's name.", ""]
            lines += [f"{number}. `{text}`" for number, text in enumerate(errors, 1)]
            lines.append("")
        if reasons:
            lines += ["## Not applicable", "", *(f"{number}. {text}" for number, text in enumerate(reasons, 1)), ""]
        return "\n".join(lines)


def _line(*columns: str) -> str:
    return "| " + " | ".join(columns) + " |"


def _show(cell: Cell, errors: list[str], reasons: list[str]) -> str:
    if cell.not_applicable:
        parts = [f"n/a ({_number(cell.not_applicable, reasons)})"]
    elif cell.outcome == "passed" and cell.refusal:
        parts = [f"refused ({_number(' '.join(cell.refusal.split()), errors)})"]
    elif cell.outcome == "passed":
        parts = ["pass"] + ([cell.level] if cell.level else [])
    else:
        parts = [{"failed": "**FAIL**", "skipped": "skipped"}.get(cell.outcome, cell.outcome)]
    return ", ".join([*parts, *cell.notes])


def _number(text: str, texts: list[str]) -> int:
    """Return the place of a text in a numbered list, where it is put if it is new."""
    if text not in texts:
        texts.append(text)
    return texts.index(text) + 1
