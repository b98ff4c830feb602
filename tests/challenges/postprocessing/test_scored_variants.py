"""The numbers after each sequence of rules, of masks that are equal, moved or unchanged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from written_map import write_map

from nnunet_ext.challenges.matched_cases import MatchedCase
from nnunet_ext.challenges.own_dataset import own_dataset
from nnunet_ext.challenges.postprocessing.rule import Rule
from nnunet_ext.challenges.postprocessing.scored_variants import score_variants, sharing
from nnunet_ext.data.image_reader import find_reader
from nnunet_ext.evaluation.mask_metrics import parse_metrics

DESCRIPTION = {"labels": {"background": 0, "kidney": 1, "tumor": 2}, "file_ending": ".nii.gz"}
CHALLENGE = own_dataset(DESCRIPTION, parse_metrics("dice"), count_both_empty=False)


@pytest.fixture
def case(tmp_path: Path) -> MatchedCase:
    rows = {"predicted": [2, 0, 1, 2], "truth": [0, 0, 1, 2]}
    files = [write_map(tmp_path / f"{name}.nii.gz", np.array([[row], [row]], np.uint8)) for name, row in rows.items()]
    return MatchedCase("a", files[0], files[1])


def test_each_sequence(case: MatchedCase) -> None:
    """The masks after both rules have the same form, at two places."""
    largest, touching = Rule("tumor", "largest", 1), Rule("tumor", "touching", "kidney")
    reader = find_reader(DESCRIPTION, case.reference)
    name, found = score_variants(case, {(): [largest, touching], (touching,): [largest]}, CHALLENGE, reader)
    assert name == "a"
    assert {rules: values["tumor dice"] for rules, values in found.items()} == {
        (): pytest.approx(2 / 3, abs=1e-12),
        (largest,): 0.0,
        (touching,): 1.0,
        (touching, largest): 1.0,
    }
    assert {values["kidney dice"] for values in found.values()} == {1.0}


def test_sharing() -> None:
    assert [each.name for each in sharing((2, 3), CHALLENGE.structures)] == ["tumor"]
