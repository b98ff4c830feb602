"""A decision is a row in words and an entry in JSON."""

import pytest

from nnunet_ext.fine_tuning.decision import Decision, in_words


@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        ("source", "kept from the source because of this"),
        ("target", "from your data because of this"),
        ("both", "the same in both: of this"),
        ("flag", "as asked: of this"),
    ],
)
def test_a_row(origin, reason):
    decision = Decision("patch size", [16, 32], origin, "of this", warning="mind")
    assert decision.row() == ("patch size", "16 x 32", reason)
    assert decision.as_json() == {
        "what": "patch size",
        "value": [16, 32],
        "from": origin,
        "why": "of this",
        "warning": "mind",
    }
    assert Decision("x", [1], origin, "", shown="one").row()[1] == "one"


@pytest.mark.parametrize(("value", "words"), [([2.5, 0.78125], "2.5 x 0.7812"), (3, "3"), ("ab", "ab")])
def test_words(value, words):
    assert in_words(value) == words
