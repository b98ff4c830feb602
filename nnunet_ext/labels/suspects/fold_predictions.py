"""The predictions of a cross-validation: of each training case, by the fold that did not train on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.base.validated_checkpoint import validated_checkpoint
from nnunet_ext.data.dataset_json import read_dataset_json
from nnunet_ext.data.folds import folds_of
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.plans_file import read_plans
from nnunet_ext.data.preprocessed.state import TRUTHS
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError, more
from nnunet_ext.files.file_stamp import FileStamp
from nnunet_ext.labels.suspects.predicted_case import PredictedCase
from nnunet_ext.stock import folders
from nnunet_ext.stock.models import model_folder

logger = logging.getLogger(__name__)
SUMMARY = "summary.json"


@dataclass(frozen=True)
class FoldPredictions:
    """A trained model's validation cases.

    Args:
        dataset: The raw dataset.
        trainer: Name of the trainer.
        plans: The model's plans.
        configuration: Name of the configuration.
        folds: Numbers of the folds.
        cases: The cases of these folds.
    """

    dataset: RawDataset
    trainer: str
    plans: dict[str, Any]
    configuration: str
    folds: tuple[int, ...]
    cases: tuple[PredictedCase, ...]

    @classmethod
    def find(
        cls, dataset: str, trainer: str, plans_name: str, configuration: str, folds: Sequence[str] = ()
    ) -> FoldPredictions:
        """Find the files; none of them is read.

        Args:
            dataset: Number or name.
            trainer: Name of the trainer.
            plans_name: Name of the plans.
            configuration: Name of the configuration.
            folds: The folds; none: all of the dataset.

        Raises:
            UserError: The dataset, the model, a fold or a prediction is missing; predictions are of another training or
                split; dataset.json declares other labels since.
        """
        raw = RawDataset.read(folders.dataset("nnUNet_raw", dataset))
        preprocessed = folders.dataset("nnUNet_preprocessed", raw.folder.name)
        model = model_folder(raw.folder.name, configuration, trainer, plans_name)
        _check_labels(raw, model)
        cases = {case.name: case for case in raw.cases()}
        splits = folds_of([preprocessed], cases)
        train = f"nnunet_ext train {raw.folder.name} {configuration} FOLD -tr {trainer} -p {plans_name}"
        found: dict[str, PredictedCase] = {}
        numbers = _numbers(folds, len(splits), model, train)
        for number in numbers:
            command = train.replace("FOLD", str(number))
            for case in _of_fold(model, number, splits[number]["val"], cases, raw.file_ending, command):
                if case.name in found:
                    raise UserError(
                        f"{preprocessed / 'splits_final.json'}: expected each case to be validated by one fold, found "
                        f"{case.name!r} in {found[case.name].fold} and {number}. Name other folds with -f."
                    )
                found[case.name] = case
        if left := sorted(set(cases) - set(found)):
            logger.warning(
                "no fold of %s validates on %s%s: not looked at",
                ", ".join(map(str, numbers)),
                left[0],
                more(len(left) - 1),
            )
        _tell_changed(found, preprocessed / TRUTHS)
        return cls(raw, trainer, read_plans(model / "plans.json"), configuration, numbers, tuple(found.values()))


def _numbers(wanted: Sequence[str], count: int, model: Path, train: str) -> tuple[int, ...]:
    if "all" in wanted:
        raise UserError("-f all: expected folds that did not train on what they predict, got all. Name 0, 1, 2 ...")
    numbers = tuple(dict.fromkeys(map(int, wanted))) or tuple(range(count))
    if beyond := [number for number in numbers if number >= count]:
        raise UserError(f"-f {beyond[0]}: expected a fold below {count}, as in splits_final.json. Correct it.")
    missing = [number for number in numbers if not (model / f"fold_{number}").is_dir()]
    if missing:
        raise UserError(
            f"{model / f'fold_{missing[0]}'}: expected a trained fold, found none{more(len(missing) - 1, 'fold')}. Run "
            f"{train.replace('FOLD', str(missing[0]))} --npz, or name the trained folds with -f."
        )
    return numbers


def _of_fold(
    model: Path, number: int, wanted: Sequence[str], cases: Mapping[str, Case], ending: str, train: str
) -> list[PredictedCase]:
    folder = model / f"fold_{number}" / "validation"
    again = f"Run {train} --val --npz"
    if not (folder / SUMMARY).is_file():
        raise UserError(f"{folder / SUMMARY}: expected the fold's validation, found none: it did not end. {again}")
    checkpoint = folder.with_name(validated_checkpoint(folder))
    running = folder.with_name("checkpoint_latest.pth")
    later = [
        file
        for file in (checkpoint, running)
        if file.is_file() and file.stat().st_mtime > (folder / SUMMARY).stat().st_mtime
    ]
    if later:
        raise UserError(
            f"{folder}: expected predictions of the last training, found those of an earlier one: {later[0].name} is "
            f"newer. {again}, or, if the files were copied since, run touch {folder / SUMMARY}"
        )
    there = {file.name.removesuffix(ending) for file in folder.glob(f"*{ending}")}
    if other := sorted(there - set(wanted)):
        raise UserError(
            f"{folder}: expected the validation cases of splits_final.json, found {other[0]!r}, which is none of them"
            f"{more(len(other) - 1)}: an earlier training with other folds predicted it. Restore the splits, or train "
            f"again."
        )
    gone = sorted(set(wanted) - set(cases))
    if gone:
        raise UserError(
            f"{folder}: expected predictions of cases of the dataset, found {gone[0]!r}, which is none"
            f"{more(len(gone) - 1)}. Restore it, or train again."
        )
    if missing := sorted(set(wanted) - there):
        raise UserError(
            f"{folder / (missing[0] + ending)}: expected the fold's prediction, found no file{more(len(missing) - 1)}. "
            f"{again}"
        )
    chances = {name: folder / f"{name}.npz" for name in wanted if (folder / f"{name}.npz").is_file()}
    if len(chances) < len(wanted):
        logger.warning(
            "fold %d: %d of %d cases have no probabilities: what is confidently predicted is not measured there. %s",
            number,
            len(wanted) - len(chances),
            len(wanted),
            again,
        )
    return [
        PredictedCase(cases[name], number, folder / f"{name}{ending}", chances.get(name)) for name in sorted(wanted)
    ]


def _check_labels(raw: RawDataset, model: Path) -> None:
    trained = read_dataset_json(model / "dataset.json")
    for key in ("labels", "regions_class_order"):
        if trained.get(key) != raw.description.get(key):
            raise UserError(
                f"{raw.file}: expected the {key!r} that the model was trained with, {trained.get(key)}, got "
                f"{raw.description.get(key)}. Restore them, or train again."
            )


def _tell_changed(cases: Mapping[str, PredictedCase], truths: Path) -> None:
    """Predictions of a case do not depend on its own label, so they can be compared with a newer one."""
    changed = []
    for name, case in sorted(cases.items()):
        trained = truths / case.prediction.name
        if trained.is_file() and case.label.is_file() and not FileStamp.of(case.label).fits(trained):
            changed.append(name)
    if changed:
        logger.warning(
            "the label of %s was changed since preprocessing%s: it is compared as it is now, with predictions by "
            "networks that learned the earlier labels",
            changed[0],
            more(len(changed) - 1),
        )
