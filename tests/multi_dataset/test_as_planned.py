"""A manifest that was edited after planning is refused; the line says what changed."""

import json
from pathlib import Path

import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.multi_dataset.as_planned import check_as_planned

PLANNED = {"tasks": {"a": {"dataset": "Dataset001_A"}, "b": {"dataset": "Dataset002_B", "weight": 1}}, "spacing": "own"}
STOCK = {"channel_names": {"0": "CT"}, "labels": {"background": 0}, "numTraining": 4, "file_ending": ".nii.gz"}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Raw and preprocessed folder of a planned collection."""
    folders = tmp_path / "raw" / "Dataset900_MOTS", tmp_path / "preprocessed" / "Dataset900_MOTS"
    for folder, content in zip(folders, (PLANNED, PLANNED | STOCK), strict=True):
        folder.mkdir(parents=True)
        (folder / "dataset.json").write_text(json.dumps(content))
    return folders


def edit(folders: tuple[Path, Path], **changes: object) -> None:
    (folders[0] / "dataset.json").write_text(json.dumps(PLANNED | changes))


def test_unchanged(folders: tuple[Path, Path]) -> None:
    check_as_planned(*folders)


def test_defaults_may_be_spelled_out_and_remarks_added(folders: tuple[Path, Path]) -> None:
    edit(folders, normalization="own", description="seven organs")
    check_as_planned(*folders)


@pytest.mark.parametrize("missing", [0, 1])
def test_nothing_to_compare(folders: tuple[Path, Path], missing: int) -> None:
    edit(folders, spacing="one")
    (folders[missing] / "dataset.json").unlink()
    check_as_planned(*folders)


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
def test_edited(folders: tuple[Path, Path], changes: dict, found: str) -> None:
    edit(folders, **changes)
    with pytest.raises(UserError) as caught:
        check_as_planned(*folders)
    assert str(caught.value).startswith(
        f"{folders[0] / 'dataset.json'}: expected the manifest as it was planned, found "
    )
    assert found in str(caught.value)
    assert "Run nnunet_ext plan_and_preprocess -d 900 -pl ... again" in str(caught.value)
