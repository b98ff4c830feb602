"""Each signal of images alone: what it says and from when on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from numpy.typing import NDArray

from nnunet_ext.quality.grid import Grid
from nnunet_ext.quality.image_signals import image_reasons
from nnunet_ext.quality.reason import THRESHOLD

SHAPE, SPACING = (20, 40, 50), (3.0, 1.0, 1.0)
INSIDE = np.zeros(SHAPE, bool)
INSIDE[5:15, 10:30, 10:30] = True


def ct(seed: int = 0, mean: float = 60.0, deviation: float = 20.0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(mean, deviation, (1, *SHAPE)).astype(np.float32)


def pool(mean: float, deviation: float) -> dict[str, float]:
    return {
        "median": mean,
        "percentile_00_5": mean - 2.576 * deviation,
        "percentile_99_5": mean + 2.576 * deviation,
    }


def fingerprint(*pools: dict[str, float], cases: int = 20) -> dict[str, Any]:
    """Of images with 2.5 to 3.5 mm between slices."""
    return {
        "spacings": [[2.5 + number / (cases - 1), 1.0, 1.0] for number in range(cases)],
        "shapes_after_crop": [list(SHAPE)] * cases,
        "foreground_intensity_properties_per_channel": {str(n): each for n, each in enumerate(pools)},
    }


USUAL = fingerprint(pool(60, 20))


def reasons(image, known=USUAL, spacing=SPACING, affine=None, **more):
    more = {"foreground": INSIDE, "normalization": ["CTNormalization"] * len(image)} | more
    return image_reasons(image, Grid(image.shape[1:], spacing, affine), known, **more)


def test_a_usual_image_has_no_reason():
    assert reasons(ct()) == []
    assert reasons(ct(), {}) == []


def test_spacing():
    found = reasons(ct(), spacing=(3.0, 1.0, 2.5))
    assert [(reason.kind, reason.text) for reason in found if reason.suspicion >= THRESHOLD] == [
        ("spacing", "voxels of 2.5 mm along x, training images have 1 mm"),
        ("extent", "image of 125 mm along x, training images have 50 mm"),
    ]
    assert reasons(ct(), spacing=(3.45, 1.0, 1.0)) == []
    few = reasons(ct(), fingerprint(pool(60, 20), cases=3), spacing=(30.0, 1.0, 1.0))
    assert few[0].text == (
        "voxels of 30 mm along z, training images have 2.5 to 3.5 mm (only 3 training cases to compare with)"
    )


def test_the_extent_is_that_of_what_is_not_zero():
    """As in the fingerprint, which describes images without their margin of zeros."""
    padded = np.pad(ct(), ((0, 0), (60, 0), (0, 0), (0, 0)))
    assert reasons(padded, foreground=None) == []
    thin = ct()
    thin[:, 2:] = 0
    found = reasons(thin, foreground=None)
    assert [reason.text for reason in found] == ["image of 6 mm along z, training images have 50 to 70 mm"]
    assert found[0].suspicion >= THRESHOLD


def test_a_shifted_unit_of_ct():
    found = reasons(ct() + 1024)
    assert [reason.kind for reason in found] == ["intensity"]
    assert found[0].text.startswith("image: inside the predicted classes, the median is 1084, training images have ")
    assert found[0].suspicion > 0.8
    assert reasons(ct() + 20) == []


def test_a_range_of_intensities_that_is_too_narrow_or_too_wide():
    texts = [reason.text for reason in reasons(0.01 * ct() + 60)]
    assert len(texts) == 1
    assert texts[0].startswith("image: inside the predicted classes, intensities go from 60.1 to 61.1, in training im")
    assert max(reason.suspicion for reason in reasons(60 + 30 * (ct() - 60))) >= THRESHOLD
    spot = np.zeros(SHAPE, bool)
    spot[10, 10, :50] = True  # too few voxels for a range
    assert reasons(0.01 * ct() + 60, foreground=spot) == []


def test_channels_that_are_scaled_image_by_image_count_half():
    whole, half = (
        max(reason.suspicion for reason in reasons(ct() + 200, normalization=[name]))
        for name in ("CTNormalization", "ZScoreNormalization")
    )
    z, half_z = (3.5 * each / (1 - each) for each in (whole, half))
    assert half_z == pytest.approx(z / 2)


def test_exchanged_channels():
    known = fingerprint(pool(60, 20), pool(900, 50), pool(500, 30))
    there = [ct(0), ct(1, 900, 50), ct(2, 500, 30)]
    assert reasons(np.concatenate(there), known) == []
    found = reasons(np.concatenate([there[1], there[0], there[2]]), known)
    assert len([reason for reason in found if reason.text.endswith("; channels 0 and 1 may be exchanged")]) == 1
    assert len([reason for reason in found if reason.text.endswith("; channels 1 and 0 may be exchanged")]) == 1
    assert all("channel 2" not in reason.text for reason in found)


def test_a_constant_channel():
    found = reasons(np.concatenate([ct(), np.full((1, *SHAPE), 7, np.float32)]), fingerprint(pool(60, 20), pool(0, 1)))
    assert [(reason.kind, reason.text, reason.suspicion) for reason in found] == [
        ("constant", "image, channel 1: 7 in all voxels", 1.0)
    ]
    assert [reason.text for reason in reasons(np.zeros((1, *SHAPE), np.float32))] == ["image: 0 in all voxels"]


def test_orientation():
    found = reasons(ct(), affine=np.diag([-1.0, 1, 3, 1]), orientations=["LPS"] * 20)
    assert [(reason.kind, reason.text) for reason in found] == [
        ("orientation", "image: its voxels run towards RPS, as in none of 20 training cases")
    ]
    assert found[0].suspicion >= THRESHOLD
    assert reasons(ct(), affine=np.diag([1.0, 1, 3, 1]), orientations=["LPS"] * 20) == []
    assert reasons(ct(), orientations=["LPS"] * 20) == []


def test_the_fingerprint_of_nnunet_has_these_entries():
    """What is compared is computed as nnU-Net computes it; an empty statistic is not compared."""
    _, (statistics,) = DatasetFingerprintExtractor.collect_foreground_intensities(INSIDE[None].astype(np.uint8), ct())
    assert {"median", "percentile_00_5", "percentile_99_5"} <= set(statistics)
    assert reasons(ct(3), fingerprint(statistics)) == []
    assert reasons(ct() + 5000, fingerprint({})) == []
    assert reasons(ct() + 5000, fingerprint(pool(60, 0))) == []
