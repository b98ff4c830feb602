"""The choice of images: suspicious ones, each far from those that are annotated or chosen before it.

Suspicion alone chooses nearly identical images, of which all but one teach the network nothing new. The choice is the
greedy one of Sener and Savarese (ICLR 2018, arXiv 1708.00489), which takes again and again the image that is farthest
from all images chosen or annotated so far, with the distance weighted by suspicion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

DIGITS = 9  # of scores that count: rounding errors must not decide


@dataclass(frozen=True)
class Choice:
    """A chosen image.

    Args:
        index: Its place among the candidates.
        score: Suspicion times distance, 0 to 1.
        distance: To the nearest image that is annotated or was chosen before it, as a share of the diameter of a
            sphere around all images, 0 to 1; 1 for the first one if nothing is annotated.
    """

    index: int
    score: float
    distance: float


def choose(
    suspicion: NDArray[np.floating],
    features: NDArray[np.floating],
    covered: NDArray[np.floating],
    number: int,
) -> list[Choice]:
    """Choose images one by one: each time the one with the largest product of suspicion and distance.

    Of equal products, the larger distance counts, then suspicion, then the place among the candidates. So candidates
    of which none is suspicious are chosen by distance.

    Args:
        suspicion: Of each candidate, (N,), 0 to 1.
        features: Of each candidate, (N, F).
        covered: Features of annotated images, (M, F); M may be 0.
        number: How many to choose; more than N: all.

    Returns:
        The choices, best first.

    Example:
        >>> import numpy as np
        >>> features = np.array([[0.0], [0.1], [5.0]])  # the first two show nearly the same
        >>> found = choose(np.array([0.9, 0.8, 0.3]), features, np.empty((0, 1)), 2)
        >>> [choice.index for choice in found]
        [0, 2]
    """
    everything = np.concatenate([features, covered]).astype(float)
    diameter = 2 * float(np.linalg.norm(everything - everything.mean(0), axis=1).max())
    nearest = np.ones(len(features))
    left = np.ones(len(features), bool)
    found: list[Choice] = []
    for each in covered:
        nearest = np.minimum(nearest, _shares(features, each, diameter))
    while left.any() and len(found) < number:
        scores = suspicion * nearest
        # the last key of lexsort counts first
        order = np.lexsort((np.arange(len(left)), -suspicion, -nearest.round(DIGITS), -scores.round(DIGITS), ~left))
        index = int(order[0])
        found.append(Choice(index, float(scores[index]), float(nearest[index])))
        left[index] = False
        nearest = np.minimum(nearest, _shares(features, features[index], diameter))
    return found


def _shares(features: NDArray[np.floating], of: NDArray[np.floating], diameter: float) -> NDArray[np.float64]:
    """Distances from one image, 0 to 1; all 0 if all images are equal."""
    apart: NDArray[np.float64] = cdist(features, of[None])[:, 0]
    return apart / diameter if diameter else apart
