"""The images and labels that a model's folds did not train on: the validation cases of each, in nnUNet_raw."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.base.trained_on import case_record, validation_record
from nnunet_ext.data.case_check import check_case, read_label
from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.data.dataset_json import IGNORE, not_annotated, read_dataset_json
from nnunet_ext.data.folds import folds_of
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.image_reader import planned_reader, read_image
from nnunet_ext.data.plans_file import read_plans
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError, more
from nnunet_ext.evaluation.mask_metrics import DICE, EmptyRule, MaskPair
from nnunet_ext.foreign.checkpoint import read_foreign_checkpoint
from nnunet_ext.prediction.trained_model import trained_folds
from nnunet_ext.stock import folders
from nnunet_ext.stock.models import check_folds

logger = logging.getLogger(__name__)
PHOTOGRAPH = "RGBTo01Normalization"
COUNTED = EmptyRule(both=None, one=0.0)


@dataclass(frozen=True)
class ReadCase:
    """A case as its files hold it.

    Args:
        image: (C, D, H, W).
        labels: (D, H, W), ignore label included.
        spacing: Of D, H, W in mm.
        limits: Between which intensities lie in such files; None: anywhere.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.integer]
    spacing: tuple[float, ...]
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class HeldOut:
    """The validation cases of some folds.

    Args:
        model: The model's folder.
        dataset: The raw dataset.
        folds: By name of the fold its cases, by name.
    """

    model: Path
    dataset: RawDataset
    folds: dict[str, tuple[Case, ...]]

    @classmethod
    def find(
        cls,
        model: Path,
        folds: Sequence[str] = (),
        checkpoint: str = "checkpoint_final.pth",
        *,
        most: int | None = None,
        trust: bool = False,
    ) -> HeldOut:
        """Find the files; no image is read.

        Args:
            model: Folder ``TRAINER__PLANS__CONFIGURATION``, of a dataset or of a task's view.
            folds: Names of the folds; none: all that are trained.
            checkpoint: Name of their checkpoints.
            most: Take no more than this many cases of a fold, the first ones by name.
            trust: Let checkpoints run the code that they name.

        Raises:
            UserError: The model, its dataset, a checkpoint, a fold, an image or a label is missing; or dataset.json
                declares other labels since; or a fold validated on cases that are not its own any more.
        """
        for file in (model / "plans.json", model / "dataset.json"):
            if not file.is_file():
                raise UserError(
                    f"{file}: expected that of a trained model, found no file. Give the folder that holds fold_0."
                )
        names = list(folds) or trained_folds(model, checkpoint)
        if not names or "all" in names:
            raise UserError(
                f"{model}: expected folds that did not train on what they predict, found {' '.join(names) or 'none'}. "
                f"Train fold 0, 1, 2 ..., or name those that are trained with -f."
            )
        check_folds(model, names, checkpoint, trust)
        raw = RawDataset.read(folders.dataset("nnUNet_raw", str(read_plans(model / "plans.json")["dataset_name"])))
        _check_labels(raw, model)
        cases = {case.name: case for case in raw.cases()}
        preprocessed = folders.if_there("nnUNet_preprocessed")
        places = [] if preprocessed is None else [preprocessed / raw.folder.name]
        splits = folds_of(places, cases)
        found: dict[str, tuple[Case, ...]] = {}
        for name in dict.fromkeys(names):
            taken = {case.name for own in found.values() for case in own}  # splits may validate twice on a case
            own = _of_fold(raw, splits, int(name), cases)
            _check_validated(model / f"fold_{name}", checkpoint, own, raw, trust=trust)
            found[name] = tuple(case for case in own if case.name not in taken)[:most]
        return cls(model, raw, found)

    def read(self, case: Case) -> ReadCase:
        """Read a case, and check it as planning does.

        Raises:
            UserError: A file is damaged, holds other labels than dataset.json, or does not fit the others.
        """
        assert case.label is not None  # checked by find
        plans = read_plans(self.model / "plans.json")
        reader = planned_reader(plans)
        legal = self.dataset.legal_labels()
        check_case(case, reader, len(self.dataset.channel_names), legal)
        read = [read_image(reader, file) for file in case.images]
        labels, _ = read_label(case.label, reader, legal)
        spacing = tuple(float(step) for step in read[0][1]["spacing"])
        limits = (0.0, 255.0) if PHOTOGRAPH in _normalization(plans, self.model.name.rpartition("__")[2]) else None
        return ReadCase(np.concatenate([image for image, _ in read]), labels[0].astype(np.int32), spacing, limits)

    def dices(self, labels: NDArray[Any], read: ReadCase, case: str) -> dict[str, float | None]:
        """Return the Dice of each class that was annotated; None where neither label nor prediction has it.

        Args:
            labels: The prediction, (D, H, W).
            read: The case.
            case: Its name.
        """
        description = self.dataset.description
        unknown = set(not_annotated(description, case))
        ignore = description["labels"].get(IGNORE)
        counts = np.ones(labels.shape, bool) if ignore is None else read.labels != ignore
        found = {}
        for name, values in foreground_classes(description).items():
            if not set(name.split(" / ")) & unknown:
                one, other = (np.isin(array, values) & counts for array in (labels, read.labels))
                found[name] = DICE.value(MaskPair(one, other, read.spacing), COUNTED)
        return found


def _normalization(plans: Mapping[str, Any], configuration: str | None) -> Sequence[str]:
    while configuration is not None:
        own = plans["configurations"].get(configuration, {})
        if "normalization_schemes" in own:
            return own["normalization_schemes"]
        configuration = own.get("inherits_from")
    return ()


def _of_fold(
    raw: RawDataset, splits: list[dict[str, list[str]]], number: int, cases: dict[str, Case]
) -> tuple[Case, ...]:
    if number >= len(splits):
        raise UserError(
            f"fold {number}: expected one of splits_final.json, which has {len(splits)}, found none. The training drew "
            f"its validation cases at random; name other folds with -f."
        )
    names = sorted(splits[number]["val"])
    if gone := [name for name in names if name not in cases]:
        raise UserError(
            f"{raw.folder}: expected the validation cases of fold {number}, found no {gone[0]!r}{more(len(gone) - 1)}. "
            f"Restore it."
        )
    found = tuple(cases[name] for name in names)
    if without := [case for case in found if case.label is None or not case.label.is_file()]:
        raise UserError(
            f"{without[0].label}: expected the label of a validation case, found no file{more(len(without) - 1)}. "
            f"Without labels, nothing can be scored. Restore it."
        )
    if not found:
        raise UserError(f"fold {number}: expected validation cases in splits_final.json, found none. Name another, -f.")
    return found


def _check_validated(fold: Path, checkpoint: str, cases: Sequence[Case], raw: RawDataset, *, trust: bool) -> None:
    """Refuse folds that were written after the training, which may have learned what they validate on."""
    folder, names = fold / "validation", {case.name for case in cases}
    predicted = {file.name.removesuffix(raw.file_ending) for file in folder.glob(f"*{raw.file_ending}")}
    finished = (folder / "summary.json").is_file()
    if other := sorted(predicted ^ names if finished else predicted - names):
        what = "which is none of them" if other[0] in predicted else f"and none of {other[0]!r}"
        found = other[0] if other[0] in predicted else sorted(predicted)[0] if predicted else "nothing"
        raise UserError(
            f"{folder}: expected predictions of the validation cases in splits_final.json, found {found!r}, {what}"
            f"{more(len(other) - 1)}: the model was trained on other folds. Restore these, or train again."
        )
    validated = validation_record(read_foreign_checkpoint(fold / checkpoint, trust=trust), raw.folder.name)
    if validated is not None and validated != case_record(names):
        raise UserError(
            f"{fold / checkpoint}: expected a training with the validation cases in splits_final.json, found one with "
            f"others. Restore its folds, or train again."
        )
    if validated is None and not finished:
        logger.warning(
            "%s: neither checkpoint nor validation say which cases this fold was trained on: splits_final.json, or "
            "nnU-Net's default without it, is believed",
            fold,
        )


def _check_labels(raw: RawDataset, model: Path) -> None:
    trained = read_dataset_json(model / "dataset.json")
    for key in ("labels", "regions_class_order"):
        if trained.get(key) != raw.description.get(key):
            raise UserError(
                f"{raw.file}: expected the {key!r} that the model was trained with, {trained.get(key)}, got "
                f"{raw.description.get(key)}. Restore them, or train again."
            )
