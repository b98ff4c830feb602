"""The key ``challenge`` of dataset.json."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nnunet_ext.challenges.conversion.challenge_record import KEY, ChallengeRecord
from nnunet_ext.errors import UserError

RECORD = ChallengeRecord("segrap2023_oar", {"Brain": (1, 2), "Stem": (2,)}, {}, ("contrast",))


def test_it_is_read_as_it_was_written() -> None:
    content = json.loads(json.dumps({KEY: RECORD.as_json()}))
    assert ChallengeRecord.of(content) == RECORD


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({}, "found none"),
        ({KEY: "KiTS21"}, "found something else"),
        ({KEY: {"name": "x", "structures": {}, "values": {}, "channels": []}}, "found something else"),
        ({KEY: {"name": "x", "structures": {"a": 1}, "values": {}, "channels": []}}, "found something else"),
        ({KEY: {"name": "x", "structures": {"a": [1]}, "values": {"a": "1"}, "channels": []}}, "found something else"),
    ],
)
def test_what_is_not_ours(content: dict, found: str) -> None:
    with pytest.raises(UserError, match=rf"model\.json: expected the key 'challenge' .*, {found}"):
        ChallengeRecord.of(content, "model.json")


def test_structures_of_a_label_map() -> None:
    masks = dict(RECORD.masks(np.array([[[0, 1], [2, 1]]], np.uint8)))
    assert {name: mask.astype(int).tolist() for name, mask in masks.items()} == {
        "Brain": [[[0, 1], [1, 1]]],
        "Stem": [[[0, 0], [1, 0]]],
    }
    assert list(masks) == ["Brain", "Stem"]


def test_an_unknown_label() -> None:
    with pytest.raises(UserError, match="0 to 2, found 3"):
        list(RECORD.masks(np.array([[[3]]])))
