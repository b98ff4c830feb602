"""Tasks of a UniSeg checkpoint: the authors' table, and a user's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunetv2.preprocessing.normalization.default_normalization_schemes import CTNormalization

from nnunet_ext.errors import UserError
from nnunet_ext.import_v1.uniseg_tasks import AUTHORS, UniSegTask

LIVER: dict[str, Any] = {
    "name": "liver",
    "labels": ["background", "liver"],
    "channels": ["CT"],
    "spacing": [3, 1.5, 1.5],
}


def read(tmp_path: Path, content: Any) -> tuple[UniSegTask, ...]:
    (tmp_path / "tasks.json").write_text(json.dumps(content))
    return UniSegTask.read(tmp_path / "tasks.json")


def test_the_authors_tasks_have_their_classes_channels_and_spacings() -> None:
    """As the authors' code has them; all tasks together have 2582 training cases."""
    assert [len(task.labels) for task in AUTHORS] == [3, 3, 3, 3, 2, 2, 2, 2, 2, 4, 2]
    assert [len(task.channels) for task in AUTHORS] == [1] * 9 + [4, 2]
    assert [task.spacing[0] for task in AUTHORS] == [3] * 7 + [4, 3, 1, 8]
    assert sum(task.cases for task in AUTHORS) == 2582


def test_ct_is_scaled_to_one_from_the_window() -> None:
    known = dict(AUTHORS[0].preprocessing().intensities["0"])
    image = np.array([[[[-1000.0, -325.0, 0.0, 325.0, 2000.0]]]], np.float32)
    scaled = CTNormalization(False, known).run(image)
    np.testing.assert_allclose(scaled.ravel(), [0, 0, 0.5, 1, 1], atol=1e-7)


def test_a_users_tasks(tmp_path: Path) -> None:
    second = LIVER | {"name": "mr", "channels": ["CT", "T1", "noNorm"], "window": [-100, 300], "mask": True, "cases": 5}
    _, task = read(tmp_path, [LIVER, second])
    made = task.preprocessing()
    assert made.schemes == ["CTNormalization", "ZScoreNormalization", "NoNormalization"]
    assert made.masks == [False, True, False]
    assert made.intensities["0"] == {"percentile_00_5": -100, "percentile_99_5": 300, "mean": -100, "std": 400}
    assert (task.cases, task.described_labels, made.spacing) == (5, {"background": 0, "liver": 1}, (3.0, 1.5, 1.5))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({}, "expected a list of tasks, got dict"),
        ([], "expected a list of tasks, got list"),
        (["liver"], "task 0: expected an object, got 'liver'"),
        ([LIVER, LIVER], "expected tasks of different names, found 'liver' twice"),
        ([LIVER | {"spacings": 1}], "unknown key 'spacings'. Did you mean 'spacing'?"),
        ([LIVER | {"labels": ["liver", "background"]}], "expected 'labels' of different names, 'background' first"),
        ([LIVER | {"labels": ["background", "a", "a"]}], "expected 'labels' of different names, 'background' first"),
        ([LIVER | {"labels": ["background"]}], "expected 'labels' of different names, 'background' first"),
        ([LIVER | {"channels": "CT"}], "expected 'channels' to be a list of names, got 'CT'"),
        ([LIVER | {"channels": []}], "expected 'channels' to be a list of names, got []"),
        ([LIVER | {"spacing": [3, 1.5]}], "expected 'spacing' to be 3 numbers, got [3, 1.5]"),
        ([LIVER | {"spacing": [3, 1.5, True]}], "expected 'spacing' to be 3 numbers"),
        ([LIVER | {"spacing": [3, 1.5, 0]}], "expected 'spacing' above 0 mm, got [3.0, 1.5, 0.0]"),
        ([LIVER | {"window": [300, 300]}], "expected 'window' from low to high HU, got [300.0, 300.0]"),
        ([LIVER | {"mask": 1}], "expected 'mask' true or false and 'cases' a number, got 1 and 0"),
        ([LIVER | {"cases": -1}], "expected 'mask' true or false and 'cases' a number, got False and -1"),
        ([LIVER | {"name": "a/b"}], "expected a task named with letters and digits"),
        ([{key: value for key, value in LIVER.items() if key != "name"}], "expected a task named with letters"),
    ],
)
def test_mistakes(tmp_path: Path, content: Any, line: str) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, content)
    assert line in str(error.value)
