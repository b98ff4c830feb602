"""Tasks that are predicted together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nnunet_ext.collection.prediction import task_chunks as module
from nnunet_ext.collection.prediction.task_chunks import task_chunks


def tasks(*heads: int) -> list[Any]:
    return [SimpleNamespace(task=SimpleNamespace(heads=number)) for number in heads]


def heads(chunks: Any) -> list[list[int]]:
    return [[task.task.heads for task in chunk] for chunk in chunks]


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
    assert heads(task_chunks(tasks(3, 2, 2, 9, 1), (4, 4, 4), limit)) == expected
    assert not list(task_chunks([], (4, 4, 4), limit))


def test_the_default_follows_image_size_and_free_memory(monkeypatch):
    """20 tasks of 5 classes in an image of 512 x 512 x 500 have 24 GiB of logits, in half precision."""
    size, many = (500, 512, 512), tasks(*[5] * 20)
    for gib, groups in ((1000, 1), (64, 4), (16, 20), (1, 20)):
        monkeypatch.setattr(module, "free_memory", lambda gib=gib: gib * 2**30)
        chunks = heads(task_chunks(many, size))
        assert len(chunks) == groups
        assert all(len(chunk) == 1 or sum(chunk) * 512 * 512 * 500 * 4 <= gib * 2**30 / 4 for chunk in chunks)
    monkeypatch.setattr(module, "free_memory", lambda: None)
    assert len(heads(task_chunks(many, size))) == 1
