"""Values that the knobs refuse."""

from __future__ import annotations

from typing import Any

import pytest

from nnunet_ext.methods.domain_randomisation.card import CARD

KNOBS = {knob.name: knob for knob in CARD.knobs}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("p", [0, 0.5, 1], [-0.1, 1.1, True, "1"]),
        ("inversion", [0, 1], [2, None]),
        ("stages", [None, [0], [2, 0]], [[], [1, 1], [-1], [0.5], 0]),
        ("range", ["running", [0, 1], [0.2, 0.8]], [[1, 0], [0.5, 0.5], [-1, 1], [0, 1, 2], [0], "fixed", None]),
        ("partners", ["any", "other_site"], ["site"]),
    ],
)
def test_values(name: str, good: list[Any], bad: list[Any]) -> None:
    check = KNOBS[name].accepts
    assert all(map(check, good))
    assert not any(map(check, bad))
