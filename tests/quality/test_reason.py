"""From z-scores and counts to a suspicion."""

import pytest

from nnunet_ext.quality.reason import THRESHOLD, Reason


def test_a_distance_of_three_and_a_half_is_at_the_threshold():
    assert Reason.of_distance("volume", "text", 3.5, "organ") == Reason("volume", "text", THRESHOLD, "organ")
    assert Reason.of_distance("volume", "text", 0.0).suspicion == 0.0
    assert Reason.of_distance("volume", "text", 31.5).suspicion == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("seen", "cases", "suspicion"), [(0, 9, 0.5), (0, 24, 5 / 7), (0, 0, 0.05 / 0.55), (2, 49, 0.5), (20, 20, 0.0487)]
)
def test_an_event_counts_by_its_share_of_the_training_cases(seen, cases, suspicion):
    assert Reason.of_event("border", "text", seen, cases).suspicion == pytest.approx(suspicion, abs=1e-3)


def test_another_share_at_the_threshold():
    assert Reason.of_event("missing", "text", 0, 4, "organ", rare=0.1) == Reason("missing", "text", 0.5, "organ")
