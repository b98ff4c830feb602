"""How far a fold's probabilities can be believed: one number, by which its logits are divided (Guo et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit

from nnunet_ext.labels.suspects.label_pair import LabelPair

SMALLEST = 1e-6  # probability: those that nnU-Net stores can be 0
SAMPLED = 20_000  # voxels of a case
LEAST, MOST = 0.25, 16.0


@dataclass(frozen=True)
class Sample:
    """Some voxels of a case.

    Args:
        logits: (N, C), of labels or of regions.
        truths: The label of each voxel (N,), or whether it is in each region (N, C).
    """

    logits: NDArray[np.float32]
    truths: NDArray[np.int64]


def sample(pair: LabelPair) -> Sample | None:
    """Take voxels around a case's foreground, at equal steps.

    Returns:
        None for a case without probabilities, or in which not all classes were annotated.
    """
    if pair.chances is None or len(pair.classes) < len(pair.chances) - (not pair.regions):
        return None
    labels = pair.labels[pair.box].ravel()
    places = np.flatnonzero(pair.counts[pair.box])
    places = places[:: max(1, -(-len(places) // SAMPLED))]
    chances = pair.chances[(slice(None), *pair.box)].reshape(len(pair.chances), -1)[:, places]
    taken = labels[places]
    truths = np.stack([np.isin(taken, own) for own in pair.classes.values()], 1) if pair.regions else taken
    return Sample(_logits(chances, regions=pair.regions).T, truths.astype(np.int64))


def fit_temperature(samples: Sequence[Sample]) -> float:
    """Return the temperature at which the labels of a fold's validation cases are most probable.

    Labels that are wrong make it larger: it is fitted before they are known.

    Args:
        samples: At least one, all of labels or all of regions.

    Returns:
        0.25 to 16; above 1, the network is surer than it should be.
    """
    logits = np.concatenate([each.logits for each in samples]).astype(np.float64)
    truths = np.concatenate([each.truths for each in samples])

    def surprise(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if truths.ndim > 1:
            return float(np.logaddexp(0, np.where(truths, -scaled, scaled)).mean())
        return float(-np.take_along_axis(log_softmax(scaled, 1), truths[:, None], 1).mean())

    found = minimize_scalar(surprise, bounds=(np.log(LEAST), np.log(MOST)), method="bounded")
    return float(np.exp(found.x))


def confidence(chances: NDArray, temperature: float, *, regions: bool) -> NDArray[np.float32]:
    """Return how probable the predicted label of each voxel is, 0 to 1.

    Args:
        chances: Probabilities (C, ...).
        temperature: What the logits are divided by.
        regions: Whether probabilities are those of regions, each for itself, of which the least sure one counts, or of
            labels, which add up to 1.

    Example:
        >>> import numpy as np
        >>> confidence(np.array([[0.2], [0.8]]), 2.0, regions=False).round(3)
        array([0.667], dtype=float32)
    """
    scaled = _logits(chances, regions=regions) / temperature
    sure = expit(np.abs(scaled)).min(0) if regions else np.exp(log_softmax(scaled, 0).max(0))
    return np.asarray(sure, np.float32)


def _logits(chances: NDArray, *, regions: bool) -> NDArray[np.float32]:
    clipped = np.clip(chances.astype(np.float32), SMALLEST, 1 - SMALLEST)
    return np.asarray(logit(clipped) if regions else np.log(clipped), np.float32)
