"""Which task is trained when."""

from __future__ import annotations

from collections import Counter

import numpy as np

from nnunet_ext.collection.training.schedule import RoundRobin, TaskSchedule


def counts(schedule: TaskSchedule, steps: int, epoch: int) -> Counter[int]:
    return Counter(schedule(epoch * steps + step) for step in range(steps))


def test_equal_shares_are_exact_in_every_epoch():
    schedule = TaskSchedule([1, 1, 1], 150, seed=3)
    for epoch in range(20):
        assert counts(schedule, 150, epoch) == {0: 50, 1: 50, 2: 50}


def test_uneven_shares_are_floor_or_ceiling_and_exact_on_average():
    schedule = TaskSchedule([10, 5, 1], 20, seed=1)  # 12.5, 6.25 and 1.25 of 20
    epochs = [counts(schedule, 20, epoch) for epoch in range(400)]
    for task, expected in enumerate((12.5, 6.25, 1.25)):
        drawn = [epoch[task] for epoch in epochs]
        assert set(drawn) <= {int(expected), int(expected) + 1}
        assert abs(np.mean(drawn) - expected) < 0.1
    assert all(sum(epoch.values()) == 20 for epoch in epochs)


def test_a_tiny_share_comes_now_and_then():
    schedule = TaskSchedule([1, 0.001], 50, seed=0)
    assert 0 < sum(counts(schedule, 50, epoch)[1] for epoch in range(400)) < 60  # 20 expected


def test_the_order_is_random_but_shared_by_all_with_the_seed():
    one, other = TaskSchedule([1, 1], 40, seed=5), TaskSchedule([1, 1], 40, seed=5)
    order = [one(step) for step in range(120)]
    assert [other(step) for step in reversed(range(120))] == order[::-1]
    assert order[:40] != order[40:80]
    assert order[:40] != sorted(order[:40])
    assert [TaskSchedule([1, 1], 40, seed=6)(step) for step in range(120)] != order


def test_drawing_leaves_numpys_global_generator_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    TaskSchedule([1, 1], 10, seed=0)(25)
    assert np.array_equal(np.random.get_state()[1], before)


def test_validation_sees_every_task_in_any_turn():
    order = RoundRobin([0, 2, 3])
    assert [order(step) for step in range(7)] == [0, 2, 3, 0, 2, 3, 0]
