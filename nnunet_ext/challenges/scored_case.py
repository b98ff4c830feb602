"""The numbers of one case."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.challenges.case_masks import CaseMasks, check_grid
from nnunet_ext.challenges.challenge import Challenge, Measure, Structure
from nnunet_ext.challenges.cropped_mask import box_around
from nnunet_ext.challenges.matched_cases import MatchedCase
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.mask_metrics import MaskPair, diagonal

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

Values = dict[str, float | None]


@dataclass(frozen=True)
class ScoredCase:
    """What was measured.

    Args:
        name: Of the case.
        values: By column; None: not counted.
        references: The label maps that the prediction was compared with.
        missing: Structures whose file is missing in the prediction.
    """

    name: str
    values: Values
    references: int
    missing: tuple[str, ...] = ()


def score_case(case: MatchedCase, challenge: Challenge, reader: BaseReaderWriter, missing: str) -> ScoredCase:
    """Measure one case, one structure after another, and take the mean over its references.

    Args:
        case: The case.
        challenge: What is measured.
        reader: Of nnU-Net.
        missing: For a structure whose file is missing in the prediction: ``error``, ``worst`` or ``skip``.

    Raises:
        UserError: A file cannot be read, or lies on another voxel grid.
    """
    prediction = None if case.prediction is None else challenge.read_prediction(case.prediction, reader)
    found: dict[str, list[float]] = defaultdict(list)
    absent: set[str] = set()
    references = 0
    for reference in challenge.read_references(case.reference, reader):
        references += 1
        if prediction is not None and case.prediction is not None:
            check_grid(prediction.grid, case.prediction, reference.grid, case.reference)
        for structure in challenge.structures:
            values = structure_values(structure, prediction, reference, case, challenge, missing)
            if prediction is not None and not prediction.has(structure.name):
                absent.add(structure.name)
            for column, value in values.items():
                if value is not None:
                    found[column].append(value)
    rounded = {column: case_mean(found.get(column), challenge.digits) for column in challenge.columns}
    names = tuple(each.name for each in challenge.structures if each.name in absent)
    return ScoredCase(case.name, rounded, references, names)


def structure_values(
    structure: Structure,
    prediction: CaseMasks | None,
    reference: CaseMasks,
    case: MatchedCase,
    challenge: Challenge,
    missing: str,
) -> Values:
    """Return the numbers of a structure, compared with one reference; none if its file is missing and left out.

    Args:
        structure: What is measured.
        prediction: None if it is missing and counts as worst.
        reference: On the same grid.
        case: For messages.
        challenge: Whose voxel size counts.
        missing: As for :func:`score_case`.

    Raises:
        UserError: A file is missing, or cannot be read.
    """
    expected = reference.mask(structure.name, structure.labels)
    if expected is None:
        raise UserError(
            f"{case.reference}: expected the file {structure.name}{challenge.ending}, found none. Add it: the "
            f"reference must have all structures."
        )
    predicted = None if prediction is None else prediction.mask(structure.name, structure.labels)
    if predicted is None and prediction is not None and missing == "error":
        raise UserError(
            f"{case.prediction}: expected the file {structure.name}{challenge.ending}, found none. Add it, or choose "
            f"--missing worst or skip."
        )
    if predicted is None and missing == "skip":
        return {}
    grid = prediction.grid if prediction is not None and challenge.spacing_of == "prediction" else reference.grid
    boxes = [mask.box for mask in (predicted, expected) if mask is not None and mask.box is not None]
    box = box_around(boxes, grid.shape, margin=1)
    masks = [
        np.zeros([side.stop - side.start for side in box], bool) if mask is None else mask.within(box)
        for mask in (predicted, expected)
    ]
    if (counted := reference.counted(box)) is not None:
        masks = [mask & counted for mask in masks]
    pair = MaskPair(masks[0], masks[1], grid.spacing, grid.shape, box)
    if predicted is None:
        return {measure.column: _worst(measure, pair) for measure in structure.measures}
    return {measure.column: measure.metric.value(pair, measure.empty) for measure in structure.measures}


def _worst(measure: Measure, pair: MaskPair) -> float:
    """What counts if the prediction is missing: more than two empty masks, which may count as equal."""
    rule = measure.empty.one
    if not callable(rule):
        return rule
    return rule(pair) if pair.reference.any() else diagonal(pair)


def case_mean(values: list[float] | None, digits: int | None) -> float | None:
    """Return the mean over the references of a case, rounded as the challenge does; None: no number is counted."""
    if not values:
        return None
    mean = statistics.fmean(values)
    return mean if digits is None else round(mean, digits)
