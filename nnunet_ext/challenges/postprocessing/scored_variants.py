"""The numbers of one case after different rules; prediction and references are read once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.challenges.case_masks import LabelMap, check_grid
from nnunet_ext.challenges.challenge import Challenge, Structure
from nnunet_ext.challenges.cropped_mask import Box, CroppedMask
from nnunet_ext.challenges.matched_cases import MatchedCase
from nnunet_ext.challenges.postprocessing.case_components import read_label_map
from nnunet_ext.challenges.postprocessing.processed import processed
from nnunet_ext.challenges.postprocessing.rule import Rule
from nnunet_ext.challenges.scored_case import Values, case_mean, structure_values
from nnunet_ext.quality.grid import Grid

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

Rules = tuple[Rule, ...]


@dataclass(frozen=True)
class _OneMask:
    """The mask of one structure, without the label map that it is cut out of."""

    grid: Grid
    cut: CroppedMask

    def mask(self, structure: str, labels: Sequence[int]) -> CroppedMask | None:
        return self.cut

    def has(self, structure: str) -> bool:
        return True

    def counted(self, box: Box) -> NDArray[np.bool_] | None:
        return None


def score_variants(
    case: MatchedCase, tried: Mapping[Rules, Sequence[Rule]], challenge: Challenge, reader: BaseReaderWriter
) -> tuple[str, dict[Rules, Values]]:
    """Measure a case after each of some sequences of rules; masks that are equal are measured once.

    Args:
        case: With a prediction.
        tried: Sequences of rules, and for each the rules of which one follows it.
        challenge: What is measured.
        reader: Of nnU-Net.

    Returns:
        The case's name, and its numbers after each sequence, alone and with each following rule.

    Raises:
        UserError: A file cannot be read, or lies on another voxel grid.
    """
    prediction = read_label_map(case, challenge, reader)
    distinct: dict[str, list[_OneMask]] = {structure.name: [] for structure in challenge.structures}
    places: dict[Rules, dict[str, int]] = {}  # of the masks after each sequence
    labels = {structure.name: structure.labels for structure in challenge.structures}
    for rules, following in tried.items():
        before = processed(prediction, rules, labels)
        places[rules] = _placed(before, challenge.structures, distinct)
        for rule in following:
            after = processed(before, (rule,), labels)
            changed = [] if after is before else sharing(labels[rule.structure], challenge.structures)
            places[(*rules, rule)] = places[rules] | _placed(after, changed, distinct)
    found: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for reference in challenge.read_references(case.reference, reader):
        assert case.prediction is not None
        check_grid(prediction.grid, case.prediction, reference.grid, case.reference)
        for structure in challenge.structures:
            for place, mask in enumerate(distinct[structure.name]):
                values = structure_values(structure, mask, reference, case, challenge, "error")
                for column, value in values.items():
                    if value is not None:
                        found[structure.name, place, column].append(value)
    return case.name, {
        rules: {
            measure.column: case_mean(found.get((each.name, at[each.name], measure.column)), challenge.digits)
            for each in challenge.structures
            for measure in each.measures
        }
        for rules, at in places.items()
    }


def sharing(own: Sequence[int], structures: Iterable[Structure]) -> list[Structure]:
    """Return the structures that have one of some labels: those that a rule for these labels can change."""
    return [structure for structure in structures if set(structure.labels) & set(own)]


def _placed(
    labels: LabelMap, structures: Iterable[Structure], distinct: Mapping[str, list[_OneMask]]
) -> dict[str, int]:
    """Cut out masks, add those that are new, and return the place of each."""
    found = {}
    for structure in structures:
        mask = labels.mask(structure.name, structure.labels)
        assert mask is not None
        known = distinct[structure.name]
        same = (
            place
            for place, other in enumerate(known)
            if other.cut.box == mask.box and np.array_equal(other.cut.voxels, mask.voxels)
        )
        found[structure.name] = next(same, len(known))
        if found[structure.name] == len(known):
            known.append(_OneMask(labels.grid, mask))
    return found
