"""Each signal of classes alone: what it says and from when on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nnunet_ext.quality.class_signals import class_reasons
from nnunet_ext.quality.measured_map import ClassMeasures, MeasuredMap
from nnunet_ext.quality.reason import THRESHOLD

KIDNEY = ClassMeasures(150.0, 1, 1.0, (0.5, 0.5, 0.3), (False,) * 6)
ABSENT = ClassMeasures()


def of(*kidneys: ClassMeasures, orientation: str | None = "LPS", **others: ClassMeasures) -> list[MeasuredMap]:
    return [MeasuredMap(orientation, "ml", {"kidney": kidney} | others) for kidney in kidneys]


def training(cases: int = 20) -> list[MeasuredMap]:
    """Kidneys of 95 to 240 ml."""
    return of(*(replace(KIDNEY, size=95.0 + 145 * number / (cases - 1)) for number in range(cases)))


def strongest(found, cases):
    return max(class_reasons(found, cases), key=lambda reason: reason.suspicion)


def test_a_case_like_the_others_has_no_reason():
    assert class_reasons(of(KIDNEY)[0], training()) == []
    assert class_reasons(of(replace(KIDNEY, size=1.0))[0], []) == []


@pytest.mark.parametrize("size", [5.0, 5000.0])
def test_volume(size):
    reason = strongest(of(replace(KIDNEY, size=size))[0], training())
    assert (reason.kind, reason.class_name) == ("volume", "kidney")
    assert reason.text == f"kidney: {size:g} ml, training cases have 95 to 240 ml"
    assert reason.suspicion > THRESHOLD


def test_few_training_cases_say_so_and_count_less():
    found = of(replace(KIDNEY, size=5.0))[0]
    many, few = strongest(found, training()), strongest(found, training(4))
    assert few.text == "kidney: 5 ml, training cases have 95 to 240 ml (only 4 training cases to compare with)"
    assert few.suspicion < many.suspicion


@pytest.mark.parametrize(("pieces", "suspicious"), [(2, False), (9, True)])
def test_pieces(pieces, suspicious):
    reasons = class_reasons(of(replace(KIDNEY, pieces=pieces))[0], training())
    assert [reason.suspicion >= THRESHOLD for reason in reasons] == [suspicious]
    assert reasons[0].kind == "pieces"
    assert reasons[0].text == f"kidney: {pieces} separate pieces, training cases have 1"


def test_fewer_pieces():
    pairs = of(*(replace(KIDNEY, pieces=8, largest=0.5) for _ in range(20)))
    reasons = class_reasons(of(KIDNEY)[0], pairs)
    assert [reason.text for reason in reasons] == ["kidney: 1 separate piece, training cases have 8"]


def test_the_largest_piece():
    reason = strongest(of(replace(KIDNEY, pieces=2, largest=0.6))[0], training())
    assert reason.text == "kidney: its largest piece is 60 % of it, in training cases 100 %"
    assert reason.suspicion >= THRESHOLD
    # a smaller second piece is no reason
    pairs = of(*(replace(KIDNEY, pieces=2, largest=0.5) for _ in range(20)))
    assert class_reasons(of(replace(KIDNEY, pieces=2, largest=0.9))[0], pairs) == []


def test_missing():
    reason = strongest(of(ABSENT, liver=KIDNEY)[0], of(*[KIDNEY] * 20, liver=KIDNEY))
    assert (reason.kind, reason.text) == ("missing", "kidney: missing, all 20 training cases have it")
    assert reason.suspicion > 0.8
    assert strongest(of(ABSENT, liver=KIDNEY)[0], of(*[KIDNEY] * 4, liver=KIDNEY)).suspicion == THRESHOLD
    one = strongest(of(ABSENT, liver=KIDNEY)[0], of(KIDNEY, liver=KIDNEY))
    assert one.text == "kidney: missing, the only training case has it (only 1 training case to compare with)"
    reason = strongest(of(ABSENT, liver=KIDNEY)[0], of(ABSENT, *[KIDNEY] * 99, liver=KIDNEY))
    assert reason.text == "kidney: missing, 1 of 100 training cases lack it"
    assert class_reasons(of(ABSENT, liver=KIDNEY)[0], of(*[ABSENT] * 5, *[KIDNEY] * 15, liver=KIDNEY)) == []


def test_present():
    reason = strongest(of(KIDNEY)[0], of(*[ABSENT] * 20))
    assert (reason.kind, reason.text) == ("present", "kidney: was found, as in none of 20 training cases")
    assert reason.suspicion >= THRESHOLD
    reason = strongest(of(KIDNEY)[0], of(*[ABSENT] * 60, KIDNEY, KIDNEY))
    assert reason.text == "kidney: was found, as in only 2 of 62 training cases"
    assert class_reasons(of(KIDNEY)[0], of(*[ABSENT] * 15, *[KIDNEY] * 5)) == []


def test_a_class_that_was_annotated_in_some_cases_only_is_compared_with_these():
    """Of the others, nobody knows whether they have it."""
    cases = [MeasuredMap("LPS", "ml", {"liver": KIDNEY})] * 20 + of(*[KIDNEY] * 12, liver=KIDNEY)
    reason = strongest(of(ABSENT, liver=KIDNEY)[0], cases)
    assert reason.text == "kidney: missing, all 12 training cases have it"


def test_empty():
    reasons = class_reasons(of(ABSENT, liver=ABSENT)[0], of(*[KIDNEY] * 20, liver=KIDNEY))
    assert [(reason.kind, reason.suspicion) for reason in reasons] == [("empty", 1.0)]
    assert reasons[0].text == "empty: no class was found, as in none of 20 training cases"
    assert class_reasons(of(ABSENT)[0], of(*[ABSENT] * 10, *[KIDNEY] * 10)) == []


def test_place():
    there = of(*(replace(KIDNEY, centre=(0.5, 0.5, 0.25 + number / 200)) for number in range(20)))
    reason = strongest(of(replace(KIDNEY, centre=(0.5, 0.5, 0.7)))[0], there)
    assert reason.kind == "place"
    assert reason.text == (
        "kidney: its centre is at 70 % of the image from right to left, in training cases at 25 to 34 %; mirrored it "
        "would be in its place; left and right may be exchanged"
    )
    assert reason.suspicion >= THRESHOLD
    high = strongest(of(replace(KIDNEY, centre=(0.95, 0.5, 0.3)))[0], there)
    assert high.text == (
        "kidney: its centre is at 95 % of the image from the lower to the upper end, in training cases at 50 %"
    )
    assert class_reasons(of(replace(KIDNEY, centre=(0.52, 0.5, 0.3)))[0], there) == []
    # a little off the middle, nothing is mirrored
    (middle,) = class_reasons(of(replace(KIDNEY, centre=(0.5, 0.566, 0.3)))[0], there)
    assert middle.text.endswith("in training cases at 50 %")
    assert middle.suspicion < THRESHOLD


def test_border():
    touching = replace(KIDNEY, touches=(True, False, False, False, False, True))
    reason = strongest(of(touching)[0], training())
    assert reason.kind == "border"
    assert reason.text == (
        "kidney: touches the image's border (lower end and the left side), as in none of 20 training cases"
    )
    assert reason.suspicion >= THRESHOLD
    # a side that training masks reach as well is not named
    half = of(*[replace(KIDNEY, touches=(True, *[False] * 5))] * 10, *[KIDNEY] * 10)
    reasons = class_reasons(of(touching)[0], half)
    assert [reason.text for reason in reasons] == [
        "kidney: touches the image's border (left side), as in none of 20 training cases"
    ]
    assert class_reasons(of(replace(KIDNEY, touches=(True, *[False] * 5)))[0], half) == []
    one = of(replace(KIDNEY, touches=(True, *[False] * 5)), *[KIDNEY] * 39)
    reasons = class_reasons(of(touching)[0], one)
    assert [reason.text for reason in reasons] == [
        "kidney: touches the image's border (left side), as in none of 40 training cases"
    ]


def test_words_of_images_without_a_place_in_space():
    plain = of(*[KIDNEY] * 20, orientation=None)
    moved = replace(KIDNEY, centre=(0.5, 0.95, 0.3), touches=(False, False, False, True, False, False))
    texts = [reason.text for reason in class_reasons(of(moved, orientation=None)[0], plain)]
    assert texts == [
        "kidney: its centre is at 95 % of the image from the upper to the lower edge, in training cases at 50 %",
        "kidney: touches the image's border (lower edge), as in none of 20 training cases",
    ]
