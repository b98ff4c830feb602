"""Rules as JSON and in words."""

from __future__ import annotations

import pytest

from nnunet_ext.challenges.postprocessing.rule import Rule
from nnunet_ext.errors import UserError

STRUCTURES = {"kidney": (1, 2), "tumor": (2,)}
RULES = {
    "drop components below 20.5 mm3": Rule("tumor", "minimum_volume", 20.5),
    "keep components that touch kidney": Rule("tumor", "touching", "kidney"),
    "keep the largest component": Rule("tumor", "largest", 1),
    "keep the 2 largest components": Rule("kidney", "largest", 2),
}


@pytest.mark.parametrize("words", RULES)
def test_words_and_json(words: str) -> None:
    rule = RULES[words]
    assert rule.words == words
    assert Rule.of(rule.as_json(), STRUCTURES, "rules.json") == rule


@pytest.mark.parametrize(
    "content",
    [
        None,
        {"structure": "liver", "kind": "largest", "largest": 1},
        {"structure": "tumor", "kind": "largest", "largest": 0},
        {"structure": "tumor", "kind": "largest", "largest": True},
        {"structure": "tumor", "kind": "largest", "minimum_volume": 1},
        {"structure": "tumor", "kind": "minimum_volume", "minimum_volume": "5"},
        {"structure": "tumor", "kind": "touching", "touching": "liver"},
        {"structure": "tumor", "kind": "touching", "touching": "tumor"},
        {"structure": "tumor", "kind": ["touching"], "touching": "kidney"},
        {"structure": "tumor", "kind": "smallest", "smallest": 1},
        {"structure": "tumor", "kind": "touching", "touching": ["kidney"]},
        {"structure": "tumor", "kind": "largest", "largest": [1]},
        {"structure": ["tumor"], "kind": "largest", "largest": 1},
    ],
    ids=str,
)
def test_what_is_no_rule(content: object) -> None:
    with pytest.raises(UserError, match=r"rules\.json: expected rules for kidney, tumor, each with .* found"):
        Rule.of(content, STRUCTURES, "rules.json")
