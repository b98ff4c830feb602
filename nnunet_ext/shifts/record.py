"""The record of a shift test: what was predicted with which settings, so that an interrupted test goes on."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunet_ext.data.image_case import Case
from nnunet_ext.errors import UserError
from nnunet_ext.files.file_stamp import FileStamp, changed_file
from nnunet_ext.files.json_file import read_object, write_json
from nnunet_ext.shifts.held_out import HeldOut
from nnunet_ext.shifts.shift import SHIFTS
from nnunet_ext.shifts.shift_scores import Dices

FORM = "shift_test 1"


@dataclass
class ShiftRecord:
    """A JSON file.

    Args:
        file: Its path.
        settings: What the Dice depends on, but for the cases.
        folds: By case the fold that did not train on it.
        cases: By case, by shift, the Dice of each class; of all cases that were predicted so far.
        files: Of these cases, the stamps of images and label.
        paths: Of all cases, images and label.
    """

    file: Path
    settings: dict[str, Any]
    folds: dict[str, str] = field(default_factory=dict)
    cases: dict[str, dict[str, Dices]] = field(default_factory=dict)
    files: dict[str, list[list[Any]]] = field(default_factory=dict)
    paths: dict[str, list[Path]] = field(default_factory=dict)

    @classmethod
    def open(cls, file: Path, held_out: HeldOut, checkpoint: str, *, mirroring: bool) -> ShiftRecord:
        """Return the record in a file, without cases whose image or label has changed since, or a new one.

        Args:
            file: The file.
            held_out: The cases.
            checkpoint: Name of the checkpoints.
            mirroring: Whether predictions average over mirrorings.

        Raises:
            UserError: The file holds something else, or a test of another model or with other settings.
        """
        settings = {
            "form": FORM,
            "model": f"{held_out.dataset.folder.name}/{held_out.model.resolve().name}",
            "mirroring": mirroring,
            "shifts": [shift.name for shift in SHIFTS],
        }
        files = {fold: held_out.model / f"fold_{fold}" / checkpoint for fold in held_out.folds}
        checkpoints = {fold: FileStamp.of(path).sha256 for fold, path in files.items()}
        folds = {case.name: fold for fold, cases in held_out.folds.items() for case in cases}
        paths = {case.name: _files(case) for cases in held_out.folds.values() for case in cases}
        if not file.is_file():
            return cls(file, settings | {"checkpoints": checkpoints}, folds, paths=paths)
        earlier = read_object(file)
        other = [key for key, value in settings.items() if earlier.get(key) != value]
        if not other and any(earlier["checkpoints"].get(fold, own) != own for fold, own in checkpoints.items()):
            other = ["checkpoints"]
        if other:
            raise UserError(
                f"{file}: expected the record of a test with the same {other[0]!r}, found another. Choose another -o, "
                f"or delete that folder."
            )
        settings["checkpoints"] = earlier["checkpoints"] | checkpoints
        stamps = earlier.get("files", {})
        changed = {name for name, own in paths.items() if name in stamps and changed_file(own, stamps[name])}
        cases = {name: dices for name, dices in earlier["cases"].items() if name not in changed}
        return cls(file, settings, earlier["folds"] | folds, cases, stamps, paths)

    def add(self, case: str, dices: dict[str, Dices]) -> None:
        """Add a case, and write the file."""
        self.cases[case] = dices
        self.files[case] = [FileStamp.of(path).as_json() for path in self.paths[case]]
        folds = {name: self.folds[name] for name in self.cases}
        files = {name: self.files[name] for name in self.cases if name in self.files}
        write_json(self.file, self.settings | {"folds": folds, "files": files, "cases": self.cases}, indent=1)

    def csv_table(self) -> str:
        """Return a row for each case, shift and class; a Dice that does not count is empty."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["case", "fold", "shift", "class", "dice"])
        for case, shifts in self.cases.items():
            for shift, dices in shifts.items():
                writer.writerows([case, self.folds[case], shift, name, dice] for name, dice in dices.items())
        return stream.getvalue()


def _files(case: Case) -> list[Path]:
    return [*case.images, *([] if case.label is None else [case.label])]
