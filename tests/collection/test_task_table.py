"""The task table in the plans."""

from __future__ import annotations

import json

import pytest

from nnunet_ext.collection.task_table import Task, TaskTable, member_plans_name
from nnunet_ext.errors import UserError

pytestmark = pytest.mark.smoke

TABLE = TaskTable(
    "Dataset900_MOTS",
    (Task("liver", "Dataset003_Liver", 1, 3, 131), Task("brain", "Dataset001_Brain", 4, 4, 484, 2.0)),
)


def test_it_survives_the_plans_file():
    plans = json.loads(json.dumps({"plans_name": "P", "collection": TABLE.as_json()}))
    assert TaskTable.read(plans) == TABLE
    assert "task" not in plans["collection"]
    bound = TABLE.bound_to("brain")
    assert TaskTable.read({"collection": bound.as_json()}) == bound
    assert bound.as_json()["task"] == "brain"


def test_other_plans_have_none():
    assert TaskTable.read({"plans_name": "nnUNetPlans"}) is None


def test_numbers():
    assert (TABLE.heads, TABLE.max_heads, TABLE.channel_numbers) == ((3, 4), 4, (1, 4))
    assert TABLE.index("brain") == 1
    assert member_plans_name("UniSegPlans", "Dataset900_MOTS") == "UniSegPlans_Dataset900_MOTS"


def test_unknown_tasks_and_newer_formats():
    with pytest.raises(UserError, match=r"Dataset900_MOTS: unknown task 'livr'\. .*liver"):
        TABLE.bound_to("livr")
    with pytest.raises(UserError, match="plans 'P': expected a task table of format 1, got 2"):
        TaskTable.read({"plans_name": "P", "collection": TABLE.as_json() | {"format": 2}})
