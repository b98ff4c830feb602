"""Calls in this process and in others."""

from __future__ import annotations

import os

from nnunet_ext.processes.workers import Workers


def process(_: int) -> int:
    return os.getpid()


def test_one_is_this_process() -> None:
    with Workers(1) as workers:
        assert list(workers.each(process, range(2))) == [os.getpid()] * 2


def test_others_are_kept_for_the_next_calls() -> None:
    with Workers(2) as workers:
        found = {*workers.each(process, range(4)), *workers.each(process, range(4))}
    assert os.getpid() not in found
    assert 1 <= len(found) <= 2
