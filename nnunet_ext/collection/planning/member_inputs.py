"""Folds and fingerprints of members, as planning a collection needs them."""

from __future__ import annotations

import shutil
from pathlib import Path

from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw

from nnunet_ext.collection.manifest import ManifestTask
from nnunet_ext.collection.members import root_source
from nnunet_ext.data.folds import FILE as FOLDS
from nnunet_ext.data.folds import STOCK_FOLDS, Folds, default_folds, folds_of, restrict
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json, write_json

FINGERPRINT = "dataset_fingerprint.json"


def check_part_folds(task: ManifestTask) -> None:
    """Refuse folds of a part that are not its source's: a case would train here and validate there.

    Stock code copies the folds of the raw folder, and fails without a message if others are there.

    Raises:
        UserError: The folds differ.
    """
    raw, planned = (Path(place) / task.dataset / FOLDS for place in (nnUNet_raw, nnUNet_preprocessed))
    source = root_source(Path(nnUNet_raw), task.dataset) or task.source
    if source is not None and raw.is_file():
        part, whole = (RawDataset.read(Path(nnUNet_raw) / name) for name in (task.dataset, source))
        cases = [case.name for case in whole.cases()]
        theirs = folds_of([Path(nnUNet_preprocessed) / source, Path(nnUNet_raw) / source], cases)
        if _sorted(read_json(raw)) != _sorted(restrict(theirs, [case.name for case in part.cases()])):
            raise UserError(
                f"{raw}: expected the folds of {source}, from which task {task.name!r} was taken, found others: they "
                f"were changed since. Delete {raw.parent} and {planned}, and collect again."
            )
    if not raw.is_file() or not planned.is_file():
        return
    new, old = _sorted(read_json(raw)), _sorted(read_json(planned))
    if old[: len(new)] != new:
        raise UserError(
            f"{planned}: expected the folds of {raw}, found others: task {task.name!r} was collected again. Delete "
            f"this file and what was trained with it."
        )


def _sorted(folds: Folds) -> list[list[list[str]]]:
    return [[sorted(fold[key]) for key in ("train", "val")] for fold in folds]


def copy_fingerprint(task: ManifestTask) -> None:
    """Give a part the fingerprint of the dataset that it was taken from, hence its spacing and normalization.

    Raises:
        UserError: There is none yet.
    """
    whole = root_source(Path(nnUNet_raw), task.dataset) or task.source
    if whole is None:
        return
    source, part = (Path(nnUNet_preprocessed) / name / FINGERPRINT for name in (whole, task.dataset))
    if not source.is_file():
        raise UserError(
            f"{source}: expected the fingerprint of the source of task {task.name!r}, found no file. Plan with "
            f"nnunet_ext plan_and_preprocess."
        )
    part.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, part)


def write_few_folds(folder: Path, cases: list[str]) -> None:
    """Give a member that is too small for nnU-Net's five folds as many folds as it has cases."""
    if len(cases) < STOCK_FOLDS and not (folder / FOLDS).exists():
        write_json(folder / FOLDS, default_folds(cases))
