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


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.uint8])
def test_labels_of_any_type(kind: type) -> None:
    """Such as those of nibabel's get_fdata, which are float64."""
    record = ChallengeRecord("kipa22", {"vein": (1,), "kidney": (2, 3)}, {}, ("CT",))
    masks = dict(record.masks(np.array([[[0, 1, 2, 3]]], kind)))
    assert [mask.tolist() for mask in masks.values()] == [
        [[[False, True, False, False]]],
        [[[False, False, True, True]]],
    ]
    if kind in (np.float64, np.float32):
        for wrong in (1.5, np.nan, -1):
            with pytest.raises(UserError, match="expected labels of kipa22, 0 to 3, found"):
                dict(record.masks(np.array([[[wrong]]], kind)))


@pytest.mark.parametrize("label", [-1, 10**12])
def test_labels_that_no_file_has(label: int) -> None:
    found = {"name": "x", "channels": ["CT"], "structures": {"vein": [label]}, "values": {}}
    with pytest.raises(UserError, match="found something else"):
        ChallengeRecord.of({"challenge": found})
