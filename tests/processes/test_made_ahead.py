"""What is made in a thread, and when."""

from __future__ import annotations

import contextlib
import threading

import pytest

from nnunet_ext.processes.made_ahead import made_ahead


@pytest.mark.parametrize("ahead", [True, False])
def test_results_and_errors_in_order(ahead):
    def inverse(number: int) -> float:
        return 1 / number

    results = []
    for made in made_ahead(inverse, [1, 0, 4], ahead=ahead):
        try:
            results.append(made())
        except ZeroDivisionError:
            results.append(-1)
    assert results == [1, -1, 0.25]
    assert list(made_ahead(inverse, [], ahead=ahead)) == []


def test_one_ahead_in_a_thread():
    started = [threading.Event() for _ in range(4)]
    threads = set()

    def make(number: int) -> int:
        threads.add(threading.get_ident())
        started[number].set()
        return number

    for place, made in enumerate(made_ahead(make, range(4))):
        if place < 3:
            assert started[place + 1].wait(20)  # while this one is used
        assert not any(event.is_set() for event in started[place + 2 :])
        assert made() == place
    assert threading.get_ident() not in threads


def test_without_a_thread_each_is_made_when_asked_for():
    made_now: list[int] = []
    for place, made in enumerate(made_ahead(made_now.append, range(3), ahead=False)):
        assert made_now == list(range(place))
        made()


def test_closing_ends_the_thread():
    before = threading.active_count()
    with contextlib.closing(made_ahead(str, range(9))) as items:
        assert next(items)() == "0"
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
