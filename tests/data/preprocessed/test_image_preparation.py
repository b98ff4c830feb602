"""What prepares images differently."""

from __future__ import annotations

from typing import Any

import pytest

from nnunet_ext.data.preprocessed.image_preparation import differing_preparation

INTENSITIES = "foreground_intensity_properties_per_channel"
PLANS = {"transpose_forward": [0, 1, 2], INTENSITIES: {"0": {"mean": 1.0}}, "plans_name": "A"}
CT = {"spacing": [1.0, 1.0, 1.0], "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False]}
MR = CT | {"normalization_schemes": ["ZScoreNormalization"]}
OTHERS = {INTENSITIES: {"0": {"mean": 2.0}}}


@pytest.mark.parametrize(
    ("of_plans", "one", "other", "expected"),
    [
        ({}, CT, CT, []),
        ({"plans_name": "B"}, CT, CT | {"batch_size": 2}, []),
        ({"transpose_forward": (0, 1, 2)}, CT, CT | {"spacing": (1.0, 1.0, 1.0)}, []),
        ({"transpose_forward": [2, 0, 1]}, CT, CT | {"spacing": [2.0, 1.0, 1.0]}, ["spacing", "transpose_forward"]),
        ({}, CT, MR, ["normalization_schemes"]),
        (OTHERS, MR, MR, []),
        (OTHERS, CT, CT, [INTENSITIES]),
    ],
)
def test_differing_preparation(
    of_plans: dict[str, Any], one: dict[str, Any], other: dict[str, Any], expected: list[str]
) -> None:
    assert differing_preparation((PLANS, one), (PLANS | of_plans, other)) == expected
