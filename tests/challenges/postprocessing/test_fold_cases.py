"""Validation folders of a model, or one folder that is shared out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from written_map import write_map

from nnunet_ext.challenges.own_dataset import own_dataset
from nnunet_ext.challenges.postprocessing.fold_cases import fold_cases
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.mask_metrics import parse_metrics

DESCRIPTION = {"labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}
CHALLENGE = own_dataset(DESCRIPTION, parse_metrics("dice"), count_both_empty=False)


def write(folder: Path, names: str) -> Path:
    for name in names:
        write_map(folder / f"{name}.nii.gz", np.ones((1, 1, 2), np.uint8))
    return folder


def names(predictions: Path, references: Path, parts: int = 5) -> dict[str, str]:
    found = fold_cases(CHALLENGE, predictions, references, parts)
    return {fold: "".join(case.name for case in cases) for fold, cases in found.items()}


def test_folds_of_a_model(tmp_path: Path) -> None:
    references = write(tmp_path / "references", "abcdef")
    write(tmp_path / "model" / "fold_10" / "validation", "b")
    write(tmp_path / "model" / "fold_2" / "validation", "ac")
    write(tmp_path / "model" / "fold_0" / "validation", "d")
    write(tmp_path / "model" / "fold_all" / "validation", "abcd")
    write(tmp_path / "model" / "fold_2_backup" / "validation", "ac")
    assert list(names(tmp_path / "model", references).items()) == [
        ("fold 0", "d"), ("fold 2", "ac"), ("fold 10", "b")
    ]  # fmt: skip


def test_a_single_fold_is_shared_out_as_a_folder_is(tmp_path: Path) -> None:
    references = write(tmp_path / "references", "abcdef")
    folder = write(tmp_path / "model" / "fold_0" / "validation", "dacbe")
    expected = {"part 1": "ace", "part 2": "bd"}
    assert names(tmp_path / "model", references, 2) == expected
    assert names(folder, references, 2) == expected
    assert names(folder, references, 9) == dict(zip((f"part {n}" for n in range(1, 6)), "abcde", strict=True))


def test_mistakes(tmp_path: Path) -> None:
    references = write(tmp_path / "references", "ab")
    write(tmp_path / "twice" / "fold_0" / "validation", "ab")
    write(tmp_path / "twice" / "fold_1" / "validation", "b")
    with pytest.raises(UserError, match="expected each case in one fold, found 'b' in several"):
        names(tmp_path / "twice", references)
    with pytest.raises(UserError, match=r"at least two cases.* found 1"):
        names(write(tmp_path / "one", "a"), references)
    write(tmp_path / "all" / "fold_all" / "validation", "ab")
    with pytest.raises(UserError, match="found only fold_all"):
        names(tmp_path / "all", references)
    with pytest.raises(UserError, match="expected a case of"):
        names(write(tmp_path / "extra", "abc"), references)
