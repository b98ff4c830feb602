"""Which tasks share a preprocessed image; views that are not what they should be."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from nnunet_ext.collection.prediction.viewed_task import ViewedTask
from nnunet_ext.collection.task_table import Task, TaskTable
from nnunet_ext.errors import UserError

TABLE = TaskTable(
    "Dataset900_All", (Task("liver", "Dataset003_Liver", 1, 3, 9), Task("brain", "Dataset008_B", 4, 3, 9))
)
PLANS = {
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "foreground_intensity_properties_per_channel": {"0": {"mean": 3.0}},
    "configurations": {
        "3d_fullres": {"spacing": [1, 1, 1], "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False]}
    },
}


def viewed(ending: str = ".nii.gz", top: dict[str, Any] | None = None, **configuration: Any) -> ViewedTask:
    plans = deepcopy(PLANS) | (top or {})
    plans["configurations"]["3d_fullres"] |= configuration
    return ViewedTask(TABLE.tasks[0], 0, plans, {"file_ending": ending}, "3d_fullres")


def test_equal_preprocessing_is_shared():
    assert viewed().preprocessing == viewed().preprocessing
    assert viewed(patch_size=[1, 2, 3], batch_size=4).preprocessing == viewed().preprocessing


@pytest.mark.parametrize(
    "other",
    [
        viewed(".nrrd"),
        viewed(spacing=[1, 1, 2]),
        viewed(normalization_schemes=["ZScoreNormalization"]),
        viewed(use_mask_for_norm=[True]),
        viewed(resampling_fn_data_kwargs={"order": 1}),
        viewed(preprocessor_name="Other"),
        viewed(top={"transpose_forward": [1, 0, 2]}),
        viewed(top={"image_reader_writer": "NibabelIO"}),
        viewed(top={"foreground_intensity_properties_per_channel": {"0": {"mean": 4.0}}}),
    ],
)
def test_different_preprocessing_is_not(other):
    assert other.preprocessing != viewed().preprocessing


def test_intensities_of_the_data_set_matter_only_where_they_are_used():
    z = {"normalization_schemes": ["ZScoreNormalization"]}
    other = {"foreground_intensity_properties_per_channel": {"0": {"mean": 4.0}}}
    assert viewed(**z).preprocessing == viewed(top=other, **z).preprocessing


def write(view: Path, **plans: Any) -> None:
    view.mkdir(exist_ok=True)
    (view / "plans.json").write_text(json.dumps(PLANS | plans))
    description = {"file_ending": ".nii.gz", "labels": {"background": 0, "organ": 1}}
    (view / "dataset.json").write_text(json.dumps(description))


def test_a_view(tmp_path):
    write(tmp_path, collection=TABLE.bound_to("brain").as_json())
    task = ViewedTask.read(TABLE, "brain", tmp_path, "3d_fullres")
    assert (task.number, task.task.channels, task.file_ending) == (1, 4, ".nii.gz")


def test_a_view_that_is_missing(tmp_path):
    with pytest.raises(
        UserError, match=r"plans.json: expected the view of task 'brain', found no file. Run nnunet_ext "
    ):
        ViewedTask.read(TABLE, "brain", tmp_path, "3d_fullres")


@pytest.mark.parametrize("table", [TABLE.bound_to("liver"), TaskTable("Dataset900_All", TABLE.tasks[1:], "brain")])
def test_a_view_of_something_else(tmp_path, table):
    write(tmp_path, collection=table.as_json())
    with pytest.raises(UserError, match="expected a view of task 'brain' with the tasks of the model, found others"):
        ViewedTask.read(TABLE, "brain", tmp_path, "3d_fullres")
