"""Folds: a part keeps the numbers of its source's; those that do not fit the preprocessed cases are refused."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from nnunetv2.utilities.crossval_split import generate_crossval_split

from nnunet_ext.data.folds import case_sites, check_fold, default_folds, folds_of, restrict, with_sites
from nnunet_ext.errors import UserError


@pytest.mark.parametrize(("cases", "validated"), [(7, [2, 2, 1, 1, 1]), (5, [1] * 5)])
def test_default_is_that_of_nnunet(cases: int, validated: list[int]) -> None:
    names = [f"case_{number}" for number in range(cases)]
    assert default_folds(reversed(names)) == generate_crossval_split(names, seed=12345, n_splits=5)
    assert [len(fold["val"]) for fold in default_folds(names)] == validated


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


@pytest.mark.parametrize("content", ["{}", '[{"train": []}]', '[["a"]]', '[{"train": [1], "val": []}]', "[", "[]"])
def test_damaged_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "splits_final.json").write_text(content)
    with pytest.raises(UserError, match=r"splits_final\.json: expected "):
        folds_of([tmp_path], ["a"])


CASES = ("a", "b", "c")
GOOD = {"train": ["a", "b"], "val": ["c"]}


def write(folder: Path, *folds: dict[str, list[str]]) -> Path:
    (folder / "splits_final.json").write_text(json.dumps(folds))
    return folder


def problem(folder: Path, cases: Sequence[str] = CASES, fold: int | str = 0, *, of_member: bool = False) -> str:
    with pytest.raises(UserError) as error:
        check_fold(folder, cases, fold, of_member=of_member)
    text = str(error.value)
    assert text.startswith(f"{folder / 'splits_final.json'}: ")
    assert "\n" not in text
    return text.removeprefix(f"{folder / 'splits_final.json'}: ")


def test_folds_that_fit(tmp_path: Path) -> None:
    check_fold(tmp_path, "abcde", 4)
    check_fold(tmp_path, "abc", "all")
    check_fold(write(tmp_path, GOOD), CASES, 0)
    check_fold(tmp_path, CASES, "0")  # as typed


def test_too_few_cases_for_the_default(tmp_path: Path) -> None:
    assert problem(tmp_path).startswith(
        "expected folds, or at least 5 preprocessed cases for nnU-Net's default, found 3 cases and no file. Train fold "
        "all, or write the file"
    )


def test_a_fold_beyond_the_last(tmp_path: Path) -> None:
    assert problem(tmp_path, "abcde", 5).startswith("expected a fold below 5, got 5 (stock nnU-Net draws a random")
    write(tmp_path, GOOD, GOOD)
    assert "Train one of 0, 1 or all" in problem(tmp_path, fold="2")
    check_fold(tmp_path, CASES, 2, of_member=True)


@pytest.mark.parametrize(("key", "use"), [("train", "train"), ("val", "validate")])
def test_nothing_to_train_or_validate_on(tmp_path: Path, key: str, use: str) -> None:
    write(tmp_path, GOOD | {key: []}, GOOD)
    assert problem(tmp_path).startswith(f"fold 0: expected cases to {use} on, found none under '{key}'.")
    check_fold(tmp_path, CASES, 0, of_member=True)


@pytest.mark.parametrize("of_member", [False, True])
def test_lists_that_do_not_fit_the_cases(tmp_path: Path, of_member: bool) -> None:
    write(tmp_path, {"train": ["a", "b", "c"], "val": ["c", "b"]})
    if of_member:
        assert problem(tmp_path, of_member=True).startswith(
            "fold 0: expected each case under 'train' or under 'val', found 'b' under both (and 1 more case). Remove it"
        )
    else:
        check_fold(tmp_path, CASES, 0)  # to watch a training on all cases: nnU-Net warns
    for lists in ({"train": ["a", "gone", "b"], "val": ["c"]}, {"train": ["a", "b"], "val": ["c", "gone"]}):
        write(tmp_path, lists)
        assert problem(tmp_path, of_member=of_member).startswith(
            "fold 0: expected preprocessed cases, found 'gone', which is not preprocessed. Preprocess it, remove it"
        )
    write(tmp_path, GOOD)
    assert problem(tmp_path, [*CASES, "new", "other"], of_member=of_member).startswith(
        "expected every preprocessed case in a fold, found 'new' in none (and 1 more case): it was added since."
    )


def test_a_case_may_be_left_out_of_a_fold_and_on_purpose_of_all(tmp_path: Path) -> None:
    check_fold(write(tmp_path, {"train": ["a"], "val": ["c"]}, GOOD), CASES, 0)
    check_fold(write(tmp_path, GOOD | {"unused": ["new"]}), [*CASES, "new"], 0)
    assert restrict(folds_of([tmp_path], ()), {"a", "new"}) == [{"train": ["a"], "val": [], "unused": ["new"]}]


def test_a_damaged_file_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    write(tmp_path, GOOD).joinpath("splits_final.json").write_text('[{"train": ["a"')
    text = problem(tmp_path)
    assert text.startswith("expected JSON, got ")
    assert text.endswith("Restore it, or delete the file for nnU-Net's default.")


def test_sites_are_those_of_the_folder_with_the_folds(tmp_path: Path) -> None:
    folds: list[dict[str, list[str]]] = [{"train": ["b"], "val": ["a"]}, {"train": ["a"], "val": ["b"]}]
    assert with_sites(folds, [tmp_path]) == folds
    file = tmp_path / "splits_final.json"
    file.write_text(json.dumps(folds))
    assert with_sites(folds, [tmp_path]) == folds
    file.write_text(json.dumps([fold | {"site": name} for fold, name in zip(folds, ("Bern", "Oslo"), strict=True)]))
    found = with_sites(folds_of([tmp_path / "none", tmp_path], "ab"), [tmp_path / "none", tmp_path])
    assert [fold["site"] for fold in found] == ["Bern", "Oslo"]
    file.write_text(json.dumps(found))
    assert case_sites(tmp_path) == {"a": "Bern", "b": "Oslo"}
