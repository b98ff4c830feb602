"""Where an imported model is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.collection.manifest import check_dataset_name
from nnunet_ext.errors import UserError
from nnunet_ext.stock import folders
from nnunet_ext.stock.folders import Folders

LAST = 999


@dataclass(frozen=True)
class Target:
    """A place for one model, or for the models of several tasks.

    Args:
        dataset: ``Dataset900_MOTS``; the tasks of a collection get the numbers after it.
        results: The folder nnUNet_results, or None.
        out: Instead: the model's folder; that of a collection holds one for each task.
    """

    dataset: str
    results: Path | None = None
    out: Path | None = None

    @classmethod
    def of(cls, number: int | None, name: str | None, out: Path | None, title: str) -> Target:
        """Make a target of command-line options.

        Args:
            number: ``-d``.
            name: ``-n``.
            out: ``-o``; number and name are then only noted in the plans.
            title: Name of a model that is given none.

        Raises:
            UserError: An option is missing, or nnUNet_results cannot be written.
        """
        if out is None and (number is None or name is None):
            raise UserError(
                "expected -d and -n, number and name of the dataset in nnUNet_results, or -o with a folder, got "
                "neither. Give one of both."
            )
        dataset = f"Dataset{900 if number is None else number:03d}_{name or title}"
        check_dataset_name(dataset, Path(f"-n {name}"))
        if out is not None:
            return cls(dataset, out=out)
        return cls(dataset, folders.folder("nnUNet_results", writable=True))

    def member(self, number: int, task: str) -> str:
        """Return the name of a task's dataset.

        Args:
            number: The task's number, from 0.
            task: Its name.

        Raises:
            UserError: Datasets cannot have that number.
        """
        own = int(self.dataset[7:10]) + 1 + number
        if own > LAST:
            raise UserError(
                f"-d: expected room for the tasks up to {LAST}, got {own} for {task}. Give a smaller number."
            )
        return f"Dataset{own:03d}_{task}"

    def check_number(self, dataset: str) -> None:
        """Refuse a dataset in nnUNet_results whose number another one has.

        Raises:
            UserError: It has.
        """
        if self.results is not None:
            raw, preprocessed = (folders.if_there(variable) for variable in ("nnUNet_raw", "nnUNet_preprocessed"))
            Folders(self.results if raw is None else raw, preprocessed, self.results).check_number(dataset, "-d")

    def model(self, dataset: str, trainer: str, plans_name: str, configuration: str) -> Path:
        """Return the folder of the one model, or that of a dataset in nnUNet_results."""
        if self.out is not None:
            return self.out
        assert self.results is not None
        return self.results / dataset / f"{trainer}__{plans_name}__{configuration}"
