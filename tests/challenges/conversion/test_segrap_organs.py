"""The partition of SegRap2023: its 54 labels, and what becomes of combinations that have none."""

from __future__ import annotations

import pytest

from nnunet_ext.challenges.conversion.segrap_organs import ORGAN_PARTITION, TUMOR_PARTITION
from nnunet_ext.challenges.segrap2023 import ORGANS, TUMORS

# from the challenge's table, facts about single labels
LABELS = {
    1: {"Brain"},
    7: {"Brain", "TemporalLobe_R", "Hippocampus_R"},
    13: {"Eye_R", "Lens_R"},
    22: {"TympanicCavity_L"},
    26: {"VestibulSemi_L"},
    31: {"MiddleEar_R", "ETbone_R"},
    50: {"Larynx", "Larynx_Supraglot"},
    51: {"Larynx", "PharynxConst"},
    54: {"Trachea"},
}


def test_54_labels_of_45_organs() -> None:
    assert len(ORGAN_PARTITION.combinations) == 54
    assert sorted(ORGAN_PARTITION.precedence) == sorted(ORGANS)
    for label, organs in LABELS.items():
        assert ORGAN_PARTITION.combinations[label - 1] == organs
    assert ORGAN_PARTITION.labels_of(list(ORGANS)) == ORGANS
    assert ORGAN_PARTITION.names[6] == "Brain-TemporalLobe_R-Hippocampus_R"


@pytest.mark.parametrize(
    ("organs", "kept"),
    [
        ({"BrainStem"}, {"Brain", "BrainStem"}),
        ({"Lens_L"}, {"Eye_L", "Lens_L"}),
        ({"Eye_L", "Brain"}, {"Eye_L"}),
        ({"Brain", "OralCavity"}, {"OralCavity"}),
        ({"MiddleEar_L", "IAC_L", "Cochlea_L"}, {"MiddleEar_L", "Cochlea_L"}),
        ({"Mandible_L", "Mandible_R"}, {"Mandible_L"}),
    ],
)
def test_combinations_without_a_label(organs: set[str], kept: set[str]) -> None:
    assert ORGAN_PARTITION.combinations[ORGAN_PARTITION.nearest(organs) - 1] == kept


def test_the_primary_tumor_is_kept() -> None:
    assert TUMOR_PARTITION.nearest(TUMORS) == 1
    assert TUMOR_PARTITION.names == ("GTVp", "GTVnd")
