"""Pooled fingerprints, by numbers worked out by hand."""

import math

from nnunet_ext.collection.planning.pooled_fingerprint import pool_fingerprints


def channel(mean: float, std: float, low: float, high: float) -> dict[str, float]:
    return {
        "mean": mean,
        "median": mean + 1,
        "std": std,
        "min": low - 5,
        "max": high + 5,
        "percentile_00_5": low,
        "percentile_99_5": high,
    }


def fingerprint(spacing: float, relative: float, *channels: dict[str, float]) -> dict:
    return {
        "spacings": [[spacing, 1.0, 1.0]],
        "shapes_after_crop": [[10, 20, 30]],
        "foreground_intensity_properties_per_channel": {str(i): found for i, found in enumerate(channels)},
        "median_relative_size_after_cropping": relative,
    }


def test_a_weighted_pool():
    one = fingerprint(1.0, 0.5, channel(0, 1, -10, 10))
    three = fingerprint(2.0, 0.9, channel(4, 3, -2, 20), channel(7, 2, 1, 9))
    pooled = pool_fingerprints([one, three], [1, 3])
    assert pooled["spacings"] == [[1.0, 1.0, 1.0], [2.0, 1.0, 1.0]]
    assert pooled["shapes_after_crop"] == [[10, 20, 30]] * 2
    assert math.isclose(pooled["median_relative_size_after_cropping"], 0.8)
    first, second = pooled["foreground_intensity_properties_per_channel"].values()
    assert first == {
        "mean": 3.0,
        "median": 4.0,
        "std": math.sqrt(10),  # (1 + 3 * 9) / 4 within and (9 + 3 * 1) / 4 between
        "min": -15.0,
        "max": 25.0,
        "percentile_00_5": -10.0,
        "percentile_99_5": 20.0,
    }
    assert second == channel(7, 2, 1, 9)


def test_one_is_left_as_it_is():
    alone = fingerprint(1.5, 0.7, channel(4, 3, -2, 20))
    assert pool_fingerprints([alone], [5]) == alone
