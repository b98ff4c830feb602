"""Which model a table of suspects comes from, and the files that it compared: ``suspects.json`` beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.errors import UserError
from nnunet_ext.files.file_stamp import FileStamp, changed_file
from nnunet_ext.files.json_file import read_object
from nnunet_ext.labels.suspects.fold_predictions import FoldPredictions
from nnunet_ext.labels.suspects.predicted_case import PredictedCase
from nnunet_ext.labels.suspects.search import Suspects

FORM = 1
KEYS = {"form", "dataset", "trainer", "plans", "configuration", "folds", "temperatures", "files"}


@dataclass(frozen=True)
class Record:
    """What ``correct_labels`` needs of a search.

    Args:
        dataset: Name of the dataset.
        trainer: Name of the trainer.
        plans: Name of the plans.
        configuration: Name of the configuration.
        folds: Numbers of the folds.
        temperatures: By fold with probabilities.
        files: Stamps of label, prediction and probabilities, by case.
    """

    dataset: str
    trainer: str
    plans: str
    configuration: str
    folds: tuple[int, ...]
    temperatures: dict[int, float]
    files: dict[str, list[list[Any]]]

    @classmethod
    def of(cls, found: Suspects) -> Record:
        """Describe a search; reads its files once more."""
        its = found.predictions
        stamps = {
            case.name: [FileStamp.of(file).as_json() for file in _files(case)]
            for case in its.cases
            if all(file.is_file() for file in _files(case))
        }
        return cls(
            its.dataset.folder.name,
            its.trainer,
            its.plans["plans_name"],
            its.configuration,
            its.folds,
            found.temperatures,
            stamps,
        )

    @classmethod
    def read(cls, table: Path) -> Record:
        """Read the record beside a table.

        Raises:
            UserError: There is none, or it has another form.
        """
        file = table.with_suffix(".json")
        if not file.is_file():
            raise UserError(
                f"{file}: expected the file that nnunet_ext suspect_labels writes beside {table.name}, found none. "
                f"Keep both together, or run it again."
            )
        content = read_object(file)
        if content.get("form") != FORM or not content.keys() >= KEYS:
            raise UserError(f"{file}: expected what nnunet_ext suspect_labels writes, got another form. Run it again.")
        temperatures = {int(fold): float(value) for fold, value in content["temperatures"].items()}
        return cls(
            content["dataset"],
            content["trainer"],
            content["plans"],
            content["configuration"],
            tuple(content["folds"]),
            temperatures,
            content["files"],
        )

    def as_json(self) -> dict[str, Any]:
        """Return what :meth:`read` takes from a file."""
        return {
            "form": FORM,
            "dataset": self.dataset,
            "trainer": self.trainer,
            "plans": self.plans,
            "configuration": self.configuration,
            "folds": list(self.folds),
            "temperatures": self.temperatures,
            "files": self.files,
        }

    def predictions(self) -> FoldPredictions:
        """Find the predictions again.

        Raises:
            UserError: They are gone, or of another training.
        """
        folds = list(map(str, self.folds))
        return FoldPredictions.find(self.dataset, self.trainer, self.plans, self.configuration, folds)

    def check(self, case: PredictedCase) -> None:
        """Refuse a case of which a file has changed since.

        Raises:
            UserError: It has.
        """
        changed = changed_file(_files(case), self.files.get(case.name))
        if changed is not None:
            raise UserError(
                f"{changed}: expected the file that nnunet_ext suspect_labels compared, found it changed since. Run "
                f"suspect_labels again."
            )


def _files(case: PredictedCase) -> list[Path]:
    return [case.label, case.prediction, *([case.probabilities] if case.probabilities is not None else [])]
