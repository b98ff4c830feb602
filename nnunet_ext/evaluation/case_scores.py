"""Dice and 95 % Hausdorff distance of one case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.evaluation.hausdorff import hausdorff_95
from nnunet_ext.evaluation.mask_metrics import EmptyRule, MaskPair, Metric, diagonal

Labels = int | Sequence[int]
Scores = dict[str, float | None]


def case_scores(
    prediction: NDArray,
    truth: NDArray,
    spacing: Sequence[float],
    classes: Mapping[str, Labels],
    ignore: int | None = None,
    metrics: Sequence[Metric] = (),
) -> dict[str, Scores]:
    """Compare two label maps class by class.

    Args:
        prediction: Label map (D, H, W).
        truth: Label map (D, H, W).
        spacing: Voxel size in mm, same axis order.
        classes: By class name its label, or the labels that make up a region.
        ignore: Label of the truth whose voxels do not count.
        metrics: Further metrics.

    Returns:
        By class name ``{"dice": ..., "hd95_mm": ...}`` and further metrics by name. All are None where neither map has
        the class; where one has it, Dice and surface Dice are 0 and distances are the image's diagonal.
    """
    counts = np.ones(truth.shape, bool) if ignore is None else truth != ignore
    scores: dict[str, Scores] = {}
    for name, labels in classes.items():
        one, other = (np.isin(map_, labels) & counts for map_ in (prediction, truth))
        scores[name] = {"dice": _dice(one, other), "hd95_mm": hausdorff_95(one, other, spacing)}
        pair = MaskPair(one, other, tuple(spacing))
        for metric in metrics:
            of_one = 0.0 if metric.larger_is_better else diagonal
            scores[name][metric.name] = metric.value(pair, EmptyRule(both=None, one=of_one))
    return scores


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float | None:
    size = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / size if size else None
