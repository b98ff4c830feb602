"""Partitions: the nearest label by hand, and what the labels give back is what the report says."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from nnunet_ext.challenges.conversion import partition as module
from nnunet_ext.challenges.conversion.partition import CombinationCount, Partition
from nnunet_ext.errors import UserError


def sets(*words: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(word) for word in words)


@pytest.mark.parametrize(
    ("combination", "label"),
    [
        ("", 0),
        ("a", 1),
        ("ab", 2),
        ("b", 2),  # adds a, rather than to lose b
        ("cd", 4),  # both lose one: d comes first
        ("abc", 2),  # loses c; label 3 would lose two
        ("bc", 3),  # c alone loses b, ab loses c and adds a
    ],
)
def test_the_nearest_label(combination: str, label: int) -> None:
    assert Partition(sets("a", "ab", "c", "d"), ("d", "c", "b", "a")).nearest(combination) == label


def test_of_equal_combinations_the_lower_label() -> None:
    assert Partition(sets("ac", "ab"), ("a", "b", "c")).nearest("a") == 1


def test_what_no_label_holds_is_background() -> None:
    parts = Partition(sets("a", "ab"), ("x", "a", "b"))
    assert parts.nearest("x") == 0
    assert parts.nearest("xa") == 1


def test_first_structures_are_kept_first() -> None:
    assert Partition(sets("ab", "cd"), ("a", "b", "c", "d")).nearest("abcd") == 1
    assert Partition(sets("ab", "cd"), ("d", "a", "b", "c")).nearest("abcd") == 2


def test_names_begin_with_what_is_kept_last() -> None:
    parts = Partition(sets("a", "ab"), ("b", "a"))
    assert parts.names == ("a", "a-b")
    assert parts.labels_of(("b", "a")) == {"b": (2,), "a": (1, 2)}


@pytest.mark.parametrize("combinations", [sets("a", "a"), sets("x"), sets(""), (frozenset({"a-b"}), frozenset("ab"))])
def test_what_cannot_be_named(combinations: tuple[frozenset[str], ...]) -> None:
    with pytest.raises(UserError, match="expected each once"):
        Partition(combinations, ("a-b", "b", "a"))


def test_random_masks_come_back_but_for_what_is_reported() -> None:
    rng = np.random.default_rng(0)
    structures = [f"s{number}" for number in range(70)]  # more than an integer has bits
    masks = {name: rng.random((6, 5, 4)) < 0.05 for name in structures}
    kept = {each for each in CombinationCount.of(masks.items(), (6, 5, 4)).voxels if len(each) < 4}
    parts = Partition(tuple(sorted(kept, key=sorted)), tuple(structures))
    merged = parts.merge(masks.items(), (6, 5, 4))
    assert sum(merged.lost.values()) > 0
    assert sum(merged.gained.values()) > 0
    for name, labels in parts.labels_of(structures).items():
        back = np.isin(merged.labels, labels)
        assert (masks[name] & ~back).sum() == merged.lost.get(name, 0)
        assert (back & ~masks[name]).sum() == merged.gained.get(name, 0)
        assert masks[name].sum() == merged.voxels[name]


def test_without_masks_all_is_background() -> None:
    assert Partition(sets("a"), ("a",)).merge([], (2, 1, 3)).labels.tolist() == [[[0, 0, 0]], [[0, 0, 0]]]


def test_the_example() -> None:
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


def test_more_combinations_than_can_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    masks = {"a": [1, 1, 0, 0], "b": [1, 0, 1, 0]}
    arrays = {name: np.array([[each]], bool) for name, each in masks.items()}
    assert len(CombinationCount.of(arrays.items(), (1, 1, 4)).found) == 4
    monkeypatch.setattr(module, "MOST", 2)
    with pytest.raises(UserError, match="at most 2 combinations of overlapping structures, found more when b was"):
        CombinationCount.of(arrays.items(), (1, 1, 4))
