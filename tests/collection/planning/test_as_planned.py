"""A manifest that was edited after planning is refused; the line says what changed."""

import json
from pathlib import Path

import pytest

from nnunet_ext.collection.planning.as_planned import check_as_planned
from nnunet_ext.errors import UserError

PLANNED = {"tasks": {"a": {"dataset": "Dataset001_A"}, "b": {"dataset": "Dataset002_B", "weight": 1}}, "spacing": "own"}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Raw folder of a planned collection."""
    folder = tmp_path / "Dataset900_MOTS"
    folder.mkdir()
    edit(folder)
    return folder


def edit(raw: Path, **changes: object) -> None:
    (raw / "dataset.json").write_text(json.dumps(PLANNED | changes))


def test_unchanged(raw: Path) -> None:
    check_as_planned(raw, PLANNED)


def test_defaults_may_be_spelled_out_and_remarks_added(raw: Path) -> None:
    edit(raw, normalization="own", description="seven organs")
    check_as_planned(raw, PLANNED)


def test_no_raw_data(raw: Path) -> None:
    (raw / "dataset.json").unlink()
    check_as_planned(raw, PLANNED)


A, B = PLANNED["tasks"].values()


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"spacing": "one"}, "spacing 'one' instead of 'own'"),
        ({"normalization": "one"}, "normalization 'one' instead of 'own'"),
        ({"tasks": {"a": A}}, "no task 'b' any more"),
        ({"tasks": {"a": A, "b": B, "c": {"dataset": "Dataset003_C"}}}, "a new task 'c'"),
        ({"tasks": {"a": A, "b": B | {"weight": 3}}}, "task 'b' with another weight"),
        (
            {"tasks": {"a": A | {"spacing": [1, 1, 1], "dataset": "Dataset004_D"}, "b": B}},
            "'a' with another dataset, spac",
        ),
        ({"tasks": {"b": B, "a": A}}, "the tasks in another order"),
    ],
)
def test_edited(raw: Path, changes: dict, found: str) -> None:
    edit(raw, **changes)
    with pytest.raises(UserError) as caught:
        check_as_planned(raw, PLANNED)
    assert str(caught.value).startswith(f"{raw / 'dataset.json'}: expected the manifest as it was planned, found ")
    assert found in str(caught.value)
    assert "Run nnunet_ext plan_and_preprocess -d 900 -pl ... again" in str(caught.value)
