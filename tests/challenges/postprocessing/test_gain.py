"""Gains of means, in which distances count with the other sign."""

from __future__ import annotations

import pytest

from nnunet_ext.challenges.own_dataset import own_dataset
from nnunet_ext.challenges.postprocessing.gain import gain, mean_of, scales_of
from nnunet_ext.evaluation.mask_metrics import parse_metrics

DESCRIPTION = {"labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}
CHALLENGE = own_dataset(DESCRIPTION, parse_metrics("dice,hd95"), count_both_empty=False)


def values(dice: float | None, distance: float | None) -> dict[str, float | None]:
    return {"a dice": dice, "a hd95": distance}


def test_distances_count_in_units_of_their_mean() -> None:
    before = [values(0.5, 4.0), values(0.7, 8.0)]
    scales = scales_of(CHALLENGE, before)
    assert scales == {"a dice": 1.0, "a hd95": -6.0}
    after = [values(0.6, 4.0), values(0.7, 2.0)]
    assert gain(["a dice"], before, after, scales) == pytest.approx(0.05, abs=1e-12)
    assert gain(["a hd95"], before, after, scales) == pytest.approx(0.5, abs=1e-12)
    assert gain(["a dice", "a hd95"], before, after, scales) == pytest.approx(0.275, abs=1e-12)
    assert scales_of(CHALLENGE, [values(1.0, 0.0)])["a hd95"] == -1.0


def test_what_is_not_counted_is_in_no_mean() -> None:
    """A false positive that a rule removes counts as 0 before and not at all afterwards."""
    before, after = [values(0.8, None), values(0.0, None)], [values(0.8, None), values(None, None)]
    assert mean_of("a dice", before) == 0.4
    assert mean_of("a hd95", before) is None
    scales = scales_of(CHALLENGE, before)
    assert gain(["a dice", "a hd95"], before, after, scales) == pytest.approx(0.4, abs=1e-12)
    assert gain(["a hd95"], before, after, scales) is None
