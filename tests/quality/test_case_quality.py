"""Suspicion and order of cases and of their reasons."""

from nnunet_ext.quality.case_quality import CaseQuality, suspicious_first
from nnunet_ext.quality.reason import Reason


def case(name, *suspicions):
    return CaseQuality(name, [Reason("volume", str(each), each) for each in suspicions])


def test_a_case_is_as_suspicious_as_its_strongest_reason():
    assert case("a").suspicion == 0.0
    assert case("a", 0.3, 0.5, 0.1).suspicion == 0.5
    assert case("a", 0.5).is_suspicious
    assert not case("a", 0.49, 0.49).is_suspicious


def test_reasons_by_strength_but_causes_first():
    found = CaseQuality(
        "a",
        [
            Reason("volume", "strong", 0.8),
            Reason("place", "too weak", 0.24),
            Reason("spacing", "cause", 0.5),
            Reason("border", "weak", 0.3),
            Reason("spacing", "weak cause", 0.4),
        ],
    )
    assert [reason.text for reason in found.strongest_first()] == ["cause", "strong", "weak cause", "weak"]


def test_cases_by_suspicion_then_number_of_reasons_then_name():
    cases = [case("b", 0.5), case("d", 0.5), case("c", 0.9), case("a", 0.2, 0.2), case("e", 0.5, 0.5), case("f")]
    assert [each.name for each in suspicious_first(cases)] == ["c", "e", "b", "d", "a", "f"]
