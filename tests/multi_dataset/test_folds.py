"""A part keeps the numbers of its source's folds."""

import json
from pathlib import Path

import pytest
from nnunetv2.utilities.crossval_split import generate_crossval_split

from nnunet_ext.errors import UserError
from nnunet_ext.multi_dataset.folds import default_folds, folds_of, restrict


def test_default_is_that_of_nnunet() -> None:
    names = [f"case_{number}" for number in range(7)]
    assert default_folds(reversed(names)) == generate_crossval_split(names, seed=12345, n_splits=5)
    assert [len(fold["val"]) for fold in default_folds(names)] == [2, 2, 1, 1, 1]


def test_few_cases_are_left_out_one_by_one() -> None:
    assert default_folds(["c", "a", "b"]) == [
        {"train": ["b", "c"], "val": ["a"]},
        {"train": ["a", "c"], "val": ["b"]},
        {"train": ["a", "b"], "val": ["c"]},
    ]


def test_the_first_folder_with_folds_decides(tmp_path: Path) -> None:
    folds = {name: [{"train": [name], "val": ["x"]}] for name in ("b", "c")}
    for name in "abc":
        (tmp_path / name).mkdir()
    for name, content in folds.items():
        (tmp_path / name / "splits_final.json").write_text(json.dumps(content))
    assert folds_of([tmp_path / name for name in "abc"], ["x"]) == folds["b"]
    assert folds_of([tmp_path / "a"], ["x", "y"]) == default_folds(["x", "y"])


def test_restrict_keeps_numbers() -> None:
    folds = [{"train": ["a", "b"], "val": ["c"]}, {"train": ["b", "c"], "val": ["a"]}]
    assert restrict(folds, {"a", "b"}) == [{"train": ["a", "b"], "val": []}, {"train": ["b"], "val": ["a"]}]


@pytest.mark.parametrize("content", ["{}", '[{"train": []}]', '[["a"]]', '[{"train": [1], "val": []}]', "["])
def test_damaged_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "splits_final.json").write_text(content)
    with pytest.raises(UserError, match=r"splits_final\.json: expected "):
        folds_of([tmp_path], ["a"])
