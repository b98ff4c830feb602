"""Measure all cases of a cross-validation and rank them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median

from tqdm import tqdm

from nnunet_ext.labels.suspects.case_measures import Measuring
from nnunet_ext.labels.suspects.fold_predictions import FoldPredictions
from nnunet_ext.labels.suspects.pictures import TILES
from nnunet_ext.labels.suspects.ranking import RankedCase, rank
from nnunet_ext.labels.suspects.temperature import Sample, fit_temperature
from nnunet_ext.processes.workers import Workers
from nnunet_ext.quality.picture import picture_side

TAU = 0.9
POOR = 0.5


@dataclass(frozen=True)
class Suspects:
    """All cases, ranked.

    Args:
        predictions: Where they come from.
        temperatures: By fold with probabilities.
        cases: The most suspicious first.
    """

    predictions: FoldPredictions
    temperatures: dict[int, float]
    cases: tuple[RankedCase, ...]

    def poorly_predicted(self) -> dict[str, float]:
        """Return the median Dice of classes where it is below 0.5: of those, the models are more suspect than labels.

        Only cases whose label or prediction has a class count for it.
        """
        dices: dict[str, list[float]] = defaultdict(list)
        for case in self.cases:
            for name, measures in case.measures.classes.items():
                dices[name].append(measures.dice)
        return {name: middle for name, values in dices.items() if (middle := median(values)) < POOR}


def search(
    predictions: FoldPredictions, *, tau: float = TAU, processes: int = 1, show_progress: bool = True
) -> Suspects:
    """Compare each label with its prediction, and what is found with the other cases.

    Args:
        predictions: The cases.
        tau: From which probability on, after scaling by a temperature fitted on the fold, a voxel is confidently
            predicted.
        processes: Each has one case in memory.
        show_progress: Show progress bars.

    Returns:
        All cases; one that could not be measured says why.

    Example:
        >>> found = search(FoldPredictions.find("4", "nnUNetTrainer", "nnUNetPlans", "3d_fullres"))  # doctest: +SKIP
        >>> found.cases[0].reasons[0].text  # doctest: +SKIP
        'the label is mirrored along x'
    """
    description, plans, cases = predictions.dataset.description, predictions.plans, predictions.cases
    side = int(picture_side(len(cases)) * TILES**0.5)  # of a picture as wide as three: the same area

    with_chances = [case for case in cases if case.probabilities is not None]
    sampled: dict[int, list[Sample]] = defaultdict(list)
    with Workers(processes) as workers:
        sampling = Measuring(description, plans, {}, tau, side)
        hidden = not show_progress or not with_chances
        found = workers.each(sampling.sample, with_chances)
        for fold, sample in tqdm(found, "temperature", len(with_chances), unit="case", disable=hidden):
            if sample is not None:
                sampled[fold].append(sample)
        temperatures = {fold: fit_temperature(samples) for fold, samples in sorted(sampled.items())}
        measuring = Measuring(description, plans, temperatures, tau, side)
        measured = list(
            tqdm(workers.each(measuring.of, list(cases)), "cases", len(cases), unit="case", disable=not show_progress)
        )
    return Suspects(predictions, temperatures, tuple(rank(measured, description)))
