"""The challenges by name."""

from __future__ import annotations

import pytest

from nnunet_ext.challenges.official import NAMES, official
from nnunet_ext.cli.challenges import chosen_challenge, rank

pytestmark = pytest.mark.smoke


def test_every_name_is_a_challenge() -> None:
    assert [official(name).name for name in NAMES] == list(NAMES)
    assert (*NAMES, chosen_challenge.CUSTOM) == chosen_challenge.CHALLENGES
    assert set(rank.CHALLENGES) < set(NAMES)


def test_columns_are_those_of_the_measures() -> None:
    for name in NAMES:
        challenge = official(name)
        assert sorted(challenge.columns) == sorted(challenge.measures)
        assert len(challenge.columns) == sum(len(each.measures) for each in challenge.structures)


def test_majority() -> None:
    assert official("kits21", majority=True).table != official("kits21").table
