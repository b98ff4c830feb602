"""The training labels of a model, measured."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.data.dataset_json import IGNORE, not_annotated
from nnunet_ext.data.image_reader import planned_reader, read_image
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.files.json_file import read_object, write_json
from nnunet_ext.files.system_files import DOUBLE
from nnunet_ext.quality.grid import Grid
from nnunet_ext.quality.measured_map import MeasuredMap
from nnunet_ext.quality.model_files import ModelFiles
from nnunet_ext.stock.folders import if_there

logger = logging.getLogger(__name__)
FORM = 1  # of the file; another number is measured again
PLACES = (("nnUNet_preprocessed", "gt_segmentations"), ("nnUNet_raw", "labelsTr"))


def training_labels(model: ModelFiles, cache: Path, *, show_progress: bool = True) -> list[MeasuredMap]:
    """Measure the training labels of a model, or read what was measured before.

    They are looked for in ``nnUNet_preprocessed/DATASET/gt_segmentations``, then ``nnUNet_raw/DATASET/labelsTr``.
    Cases of which a part is not annotated (label ``ignore``) and damaged files are left out, and a line says so.

    Args:
        model: The model.
        cache: JSON file for the measures; it is read if it is about the same files.
        show_progress: Show a progress bar.

    Returns:
        The measures of each training case; none if the labels cannot be reached.

    Raises:
        UserError: The file for the measures cannot be written.
    """
    files = _label_files(model)
    if not files:
        logger.warning(
            "no training labels of %s were found in nnUNet_preprocessed or nnUNet_raw: predictions are not compared "
            "with them",
            model.dataset or "the model",
        )
        return []
    key = _key(files, model)
    known = _known(cache, key)
    if known is not None:
        logger.info("%s: %d training labels were measured before", cache, len(known))
        return known
    measured = _measure(files, model, show_progress=show_progress)
    write_json(cache, {"key": key, "cases": {name: case.as_json() for name, case in measured.items()}}, indent=1)
    return list(measured.values())


def _label_files(model: ModelFiles) -> list[Path]:
    for variable, name in PLACES:
        root = if_there(variable)
        if root is not None and model.dataset:
            found = sorted((root / model.dataset / name).glob(f"*{model.file_ending}"))
            if files := [file for file in found if not file.name.startswith(DOUBLE)]:
                return files
    return []


def _key(files: Sequence[Path], model: ModelFiles) -> dict[str, Any]:
    stamps = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return {"form": FORM, "folder": str(files[0].parent), "labels": model.dataset_json["labels"], "files": stamps}


def _known(cache: Path, key: dict[str, Any]) -> list[MeasuredMap] | None:
    if not cache.is_file():
        return None
    try:
        content = read_object(cache)
    except UserError as error:
        logger.warning("the training labels are measured again: %s", error)
        return None
    if content.get("key") != key:
        return None
    return [MeasuredMap.from_json(case) for case in content["cases"].values()]


def _measure(files: Sequence[Path], model: ModelFiles, *, show_progress: bool) -> dict[str, MeasuredMap]:
    reader = planned_reader(model.plans)
    classes = foreground_classes(model.dataset_json)
    ignore = model.dataset_json["labels"].get(IGNORE)
    measured, partly = {}, 0
    for file in tqdm(files, desc="training labels", unit="case", disable=not show_progress):
        name = file.name.removesuffix(model.file_ending)
        try:  # whatever is wrong with one case must not hide the others
            labels, properties = read_image(reader, file, label=True)
            if ignore is not None and bool((labels == ignore).any()):
                partly += 1
                continue
            grid = Grid.of(labels.shape[1:], properties, str(file))
            unknown = not_annotated(model.dataset_json, name)
            there = {each: value for each, value in classes.items() if not set(each.split(" / ")) & set(unknown)}
            measured[name] = MeasuredMap.of(labels[0].astype(np.int32), grid, there)
        except Exception as error:
            reason = str(error) if isinstance(error, UserError) else f"{file}: {one_line(error)}"
            logger.warning("a training label is left out: %s", reason)
            logger.debug("%s", file, exc_info=True)
    if partly:
        logger.info("training cases that are left out, because a part is not annotated (label ignore): %d", partly)
    return measured
