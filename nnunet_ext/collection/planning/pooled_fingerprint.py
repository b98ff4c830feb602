"""One fingerprint for several datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

INTENSITIES = "foreground_intensity_properties_per_channel"


def pool_fingerprints(fingerprints: Sequence[dict[str, Any]], cases: Sequence[int]) -> dict[str, Any]:
    """Return a fingerprint in nnU-Net's form that represents several datasets.

    Spacings and shapes are joined. For a channel's intensities, the mean is the mean of the means and the standard
    deviation is that of all voxels together (variances within and between the datasets), each dataset weighted by its
    cases; the percentiles and extremes are the widest that occur, so that no dataset is clipped more than by itself.
    The median and the relative size after cropping, which are medians of each dataset, are weighted means.

    Args:
        fingerprints: Fingerprints; a channel is pooled over those that have it.
        cases: The weight of each.
    """
    numbers = sorted({channel for found in fingerprints for channel in found[INTENSITIES]}, key=int)
    relative = [found["median_relative_size_after_cropping"] for found in fingerprints]
    return {
        "spacings": [spacing for found in fingerprints for spacing in found["spacings"]],
        "shapes_after_crop": [shape for found in fingerprints for shape in found["shapes_after_crop"]],
        INTENSITIES: {channel: _pool_channel(channel, fingerprints, cases) for channel in numbers},
        "median_relative_size_after_cropping": float(np.average(relative, weights=cases)),
    }


def _pool_channel(channel: str, fingerprints: Sequence[dict[str, Any]], cases: Sequence[int]) -> dict[str, float]:
    pairs = [
        (f[INTENSITIES][channel], n) for f, n in zip(fingerprints, cases, strict=True) if channel in f[INTENSITIES]
    ]
    weights = [number for _, number in pairs]

    def values(key: str) -> np.ndarray:
        return np.array([found[key] for found, _ in pairs], dtype=np.float64)

    mean = np.average(values("mean"), weights=weights)
    variance = np.average(values("std") ** 2 + (values("mean") - mean) ** 2, weights=weights)
    return {
        "max": float(values("max").max()),
        "mean": float(mean),
        "median": float(np.average(values("median"), weights=weights)),
        "min": float(values("min").min()),
        "percentile_00_5": float(values("percentile_00_5").min()),
        "percentile_99_5": float(values("percentile_99_5").max()),
        "std": float(np.sqrt(variance)),
    }
