"""A folder of predictions measured against several raters."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.data.case_check import check_grid, knows_spacing
from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.data.dataset_json import IGNORE
from nnunet_ext.data.image_reader import find_reader, read_image
from nnunet_ext.errors import UserError, more, nearest
from nnunet_ext.evaluation.markdown_table import markdown_table
from nnunet_ext.files.probabilities_file import read_probabilities
from nnunet_ext.labels.probabilities import are_of_labels
from nnunet_ext.labels.raters.raw_raters import rater_maps
from nnunet_ext.labels.raters.scores import class_scores

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RaterScores:
    """The scores of one class in one case.

    Args:
        case: Name of the case.
        name: Name of the class.
        scores: By name.
    """

    case: str
    name: str
    scores: Mapping[str, float]


def score_folder(
    predictions: Path,
    raters: Path,
    description: Mapping[str, Any],
    views: Mapping[str, Path] | None = None,
) -> list[RaterScores]:
    """Measure the predictions of cases that somebody rated; voxels that a rater of the case ignores do not count.

    Args:
        predictions: Label maps CASE.nii.gz of the consensus; with CASE.npz beside them (``--save_probabilities``),
            which holds probabilities (K, D, H, W), there is a soft Dice.
        raters: A folder for each rater, such as ``labelsTr_raters``.
        description: dataset.json.
        views: Folder of the predictions of each rater's view.

    Returns:
        A class of a case each.

    Raises:
        UserError: An unknown rater, no case of any rater, a view without a prediction of a case that is scored, another
            grid, or probabilities of another prediction.
    """
    ending = description["file_ending"]
    maps, views = rater_maps(raters, ending), views or {}
    for rater in views:
        if rater not in maps:
            raise UserError(f"--views {rater}=...: expected a rater of {raters}, got {rater!r}. {nearest(rater, maps)}")
    rated = {case: {name: theirs[case] for name, theirs in maps.items() if case in theirs}
             for case in sorted({case for theirs in maps.values() for case in theirs})}  # fmt: skip
    cases = [case for case in rated if (predictions / f"{case}{ending}").is_file()]
    if not cases:
        raise UserError(
            f"{predictions}: expected predictions of cases that somebody rated, such as {next(iter(rated))}{ending}, "
            f"found none. Predict the images of the cases in {raters}."
        )
    if left := sorted(set(rated) - set(cases)):
        logger.warning("%s: no prediction of %s, which is rated%s", predictions, left[0], more(len(left) - 1))
    classes, ignore = foreground_classes(description), description["labels"].get(IGNORE)
    found = []
    for case in cases:
        files = {"": predictions / f"{case}{ending}"} | rated[case]
        read = _read(files, {rater: folder / f"{case}{ending}" for rater, folder in views.items()}, description)
        counts = np.all([read[rater] != ignore for rater in rated[case]], 0)
        soft = _probabilities(predictions / f"{case}.npz", read[""], description)
        for number, (name, labels) in enumerate(classes.items()):
            masks = {key: np.isin(array, labels) & counts for key, array in read.items()}
            scores = class_scores(
                masks[""],
                {rater: masks[rater] for rater in rated[case]},
                views={rater: masks[f"view {rater}"] for rater in views},
                probability=None if soft is None else soft[number - len(classes)] * counts,
            )
            found.append(RaterScores(case, name, scores))
    return found


def table(scores: Sequence[RaterScores]) -> str:
    """Return a Markdown table: a row for each class, the mean over its cases of each score that any case has."""
    columns = [
        name for name in _columns(scores) if any(not math.isnan(each.scores.get(name, math.nan)) for each in scores)
    ]
    rows = [["class", "cases", *columns]]
    for name in dict.fromkeys(each.name for each in scores):
        of_class = [each.scores for each in scores if each.name == name]
        values = [
            [each[column] for each in of_class if not math.isnan(each.get(column, math.nan))] for column in columns
        ]
        means = [f"{sum(known) / len(known):.4f}" if known else "none" for known in values]
        rows.append([name, str(len(of_class)), *means])
    return markdown_table(list(map(list, zip(*rows, strict=True))))


def csv_of(scores: Sequence[RaterScores]) -> str:
    """Return a line for each case and class; what a case does not have is empty."""
    stream, columns = io.StringIO(), _columns(scores)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case", "class", *columns])
    for each in scores:
        values = [each.scores.get(name, math.nan) for name in columns]
        writer.writerow([each.case, each.name, *("" if math.isnan(value) else f"{value:.6g}" for value in values)])
    return stream.getvalue()


def _columns(scores: Sequence[RaterScores]) -> list[str]:
    return list(dict.fromkeys(name for each in scores for name in each.scores))


def _read(
    files: Mapping[str, Path], views: Mapping[str, Path], description: Mapping[str, Any]
) -> dict[str, NDArray[np.int64]]:
    """All maps of a case, on one grid."""
    every = {**files, **{f"view {rater}": file for rater, file in views.items()}}
    if missing := [file for file in every.values() if not file.is_file()]:
        raise UserError(f"{missing[0]}: expected a prediction of the same case, found no file. Predict it.")
    reader = find_reader(description, files[""])
    read = {key: read_image(reader, file, label=True) for key, file in every.items()}
    first, grid = read[""]
    for key, (array, properties) in read.items():
        own = properties if knows_spacing(every[key]) else properties | {"spacing": grid["spacing"]}
        check_grid(every[key], array, own, files[""], first, grid, "Predict the image that the rater annotated.")
    return {key: array[0].astype(int) for key, (array, _) in read.items()}


def _probabilities(
    file: Path, prediction: NDArray[np.int64], description: Mapping[str, Any]
) -> NDArray[np.floating] | None:
    """The probabilities (K, D, H, W), if they are there; those of the foreground are the last ones."""
    if not file.is_file():
        return None
    again = "Delete it, or predict again with --save_probabilities."
    found = read_probabilities(file, again)
    if not are_of_labels(found, prediction, description):
        raise UserError(
            f"{file}: expected the probabilities of the prediction beside it, found those of another one. {again}"
        )
    return found
