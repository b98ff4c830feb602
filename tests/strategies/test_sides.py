"""Classes that come in a left and a right, however they are spelled."""

from __future__ import annotations

import pytest

from nnunet_ext.challenges.segrap2023 import ORGANS
from nnunet_ext.strategies.sides import sides


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Eye_L", "Eye_R"),
        ("kidney_left", "kidney_right"),
        ("Left Kidney", "Right Kidney"),
        ("LeftKidney", "RightKidney"),
        ("lung-l", "lung-r"),
        ("Brain+TemporalLobe_L", "Brain+TemporalLobe_R"),
        ("left upper lobe left", "right upper lobe right"),
    ],
)
def test_pairs(left: str, right: str) -> None:
    assert sides([right, "liver", left]) == [(left, right)]


@pytest.mark.parametrize(
    "names", [["Eye_L"], ["L5", "R5"], ["cleft", "cright"], ["liver", "river"], ["left", "Right_R"]]
)
def test_no_pairs(names: list[str]) -> None:
    assert sides(names) == []


def test_organs_of_segrap2023() -> None:
    assert len(sides(ORGANS)) == 16
