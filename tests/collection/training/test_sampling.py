"""Shares of the tasks."""

from __future__ import annotations

import pytest

from nnunet_ext.collection.task_table import Task, TaskTable
from nnunet_ext.collection.training.sampling import sampling_shares
from nnunet_ext.errors import UserError


def table(*weights: float | None) -> TaskTable:
    cases = (100, 4, 25)
    tasks = [
        Task(f"t{index}", f"Dataset00{index}_X", 1, 2, cases[index], weight) for index, weight in enumerate(weights)
    ]
    return TaskTable("Dataset900_C", tuple(tasks))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(None, [1, 1, 1]), ("equal", [1, 1, 1]), ("proportional", [100, 4, 25]), ("sqrt", [10, 2, 5])],
)
def test_policies(policy, expected):
    assert sampling_shares(table(None, None, None), policy) == expected


def test_weights_of_the_manifest_count_unless_told_otherwise():
    assert sampling_shares(table(2, None, 0.5), None) == [2, 1, 0.5]
    assert sampling_shares(table(2, 3, 0.5), "weights") == [2, 3, 0.5]
    assert sampling_shares(table(2, 3, 0.5), "equal") == [1, 1, 1]


def test_weights_need_a_weight_for_every_task():
    with pytest.raises(UserError, match=r"Dataset900_C: .* expects a weight for every task, found none for t1, t2\."):
        sampling_shares(table(2, None, None), "weights")
