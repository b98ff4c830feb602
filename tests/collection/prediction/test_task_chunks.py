"""Tasks that are predicted together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nnunet_ext.collection.prediction import task_chunks as module
from nnunet_ext.collection.prediction.pass_memory import PassMemory
from nnunet_ext.collection.prediction.task_chunks import task_chunks

GIB = 2**30
SMALL = PassMemory(1, 1, 1)


def tasks(*heads: int, why_stock: str | None = None) -> list[Any]:
    return [SimpleNamespace(heads=number, why_stock=why_stock) for number in heads]


def heads(chunks: Any) -> list[list[int]]:
    return [[task.heads for task in chunk] for chunk in chunks]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (1, [[3], [2], [2], [9], [1]]),
        (5, [[3, 2], [2], [9], [1]]),
        (7, [[3, 2, 2], [9], [1]]),
        (10, [[3, 2, 2], [9, 1]]),
        (17, [[3, 2, 2, 9, 1]]),
    ],
)
def test_a_limit_on_heads(limit, expected):
    assert heads(task_chunks(tasks(3, 2, 2, 9, 1), SMALL, limit)) == expected
    assert not list(task_chunks([], SMALL, limit))


@pytest.fixture
def free(monkeypatch):
    def set_free(size: int | None) -> None:
        monkeypatch.setattr(module, "free_memory", lambda: size)

    return set_free


def test_the_default_is_a_quarter_of_the_free_memory(free):
    """Two tasks of 3 heads take 6 x 10 + 2 x 20 = 100 bytes."""
    memory = PassMemory(sums=10, whole=1000, label_map=20)
    for size, expected in ((400, [[3, 3]]), (399, [[3], [3]]), (0, [[3], [3]]), (None, [[3, 3]])):
        free(size)
        assert heads(task_chunks(tasks(3, 3), memory)) == expected
    free(399)
    assert heads(task_chunks(tasks(3, 3), memory, 6)) == [[3, 3]]  # the user knows better


def test_whole_logits_count_for_tasks_that_need_them(free):
    """Of three tasks of one head, two need them: 3 x 10 + 2 x 50 + 3 x 20 = 190 bytes."""
    memory = PassMemory(sums=10, whole=50, label_map=20)
    mixed = [*tasks(1, 1, why_stock="the plans say so"), *tasks(1)]
    for size, expected in ((4 * 190, [[1, 1, 1]]), (4 * 190 - 1, [[1, 1], [1]])):
        free(size)
        assert heads(task_chunks(mixed, memory)) == expected


def test_on_a_gpu_sums_are_there_and_label_maps_are_not(free):
    """Two tasks of 3 heads: 60 bytes there, 40 bytes here."""
    memory = PassMemory(sums=10, whole=1000, label_map=20)
    for here, there, groups in ((160, 240, 1), (160, 239, 2), (159, 240, 2), (None, 240, 1), (None, 239, 2)):
        free(here)
        assert len(heads(task_chunks(tasks(3, 3), memory, gpu_free=there))) == groups
