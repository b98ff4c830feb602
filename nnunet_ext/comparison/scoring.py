"""Scores of a run's predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_ext.comparison.scored_cases import ScoredCases
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.mask_metrics import Metric


def score(
    pairs: Iterable[tuple[str, Path, Path]],
    scored: ScoredCases,
    plans: Mapping[str, Any],
    metrics: Sequence[Metric] = (),
) -> dict[str, Any]:
    """Return Dice, HD95 and further metrics of each case and class, by name.

    Args:
        pairs: Name, prediction and label of each case.
        scored: Classes and the dataset's description.
        plans: They name the reader of the images.
        metrics: Further metrics.

    Raises:
        UserError: A label has another shape than its image.
    """
    from tqdm import tqdm

    from nnunet_ext.data.image_reader import planned_reader, read_image
    from nnunet_ext.evaluation.case_scores import case_scores

    reader = planned_reader(plans)
    found = {}
    for case, prediction, truth in tqdm(list(pairs), desc="  scoring", leave=False):
        # the truth may be a .tif in gt_segmentations, without the file that says its spacing
        (one, properties), (other, _) = (read_image(reader, file, label=True) for file in (prediction, truth))
        if one.shape != other.shape:
            raise UserError(
                f"{truth}: expected the shape {one.shape[1:]} of its image, got {other.shape[1:]}. Resample it."
            )
        found[case] = case_scores(
            one[0],
            other[0],
            properties["spacing"],
            scored.classes,
            scored.description["labels"].get("ignore"),
            metrics,
        )
    return found
