"""All cases of a folder: the mean, worker processes, and a worker that is killed."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from killing_challenge import KillingChallenge
from written_map import write_map

from nnunet_ext.challenges.challenge import Challenge
from nnunet_ext.challenges.evaluation import evaluate
from nnunet_ext.challenges.own_dataset import own_dataset
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.mask_metrics import parse_metrics

DESCRIPTION = {"labels": {"background": 0, "a": 1, "b": 2}, "file_ending": ".nii.gz"}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Dice of class a: 1, 0.5, 0; of class b: none, none, 1."""
    rows = {"x": ((1, 1, 0), (1, 1, 0)), "y": ((1, 1, 0), (0, 1, 1)), "z": ((1, 0, 2), (0, 1, 2))}
    for case, pair in rows.items():
        for folder, row in zip(("predicted", "truth"), pair, strict=True):
            write_map(tmp_path / folder / f"{case}.nii.gz", np.array([[row]], np.uint8).repeat(2, 0))
    return tmp_path / "predicted", tmp_path / "truth"


def dice() -> Challenge:
    return own_dataset(DESCRIPTION, parse_metrics("dice"), count_both_empty=False)


def test_the_mean_leaves_out_what_is_not_counted(folders: tuple[Path, Path]) -> None:
    found = evaluate(dice(), *folders, show_progress=False)
    assert [case.name for case in found.scored] == ["x", "y", "z"]
    assert [case.values["a dice"] for case in found.scored] == [1, 0.5, 0]
    assert found.average == {"a dice": 0.5, "b dice": 1.0}
    assert (found.missing, found.extra, found.rule) == ((), (), "error")


def test_missing_cases_are_in_the_mean_only_as_worst(folders: tuple[Path, Path]) -> None:
    (folders[0] / "x.nii.gz").unlink()
    skipped = evaluate(dice(), *folders, missing="skip", show_progress=False)
    assert (skipped.average["a dice"], skipped.missing) == (0.25, ("x",))
    worst = evaluate(dice(), *folders, missing="worst", show_progress=False)
    assert worst.average["a dice"] == pytest.approx(0.5 / 3, abs=1e-12)
    assert worst.average["b dice"] == 0.5


def test_the_reader_of_the_dataset(folders: tuple[Path, Path]) -> None:
    """The reader that nnU-Net chooses by the first case, SimpleITKIO, refuses the sheared axes of another."""
    sheared = np.eye(4)
    sheared[0, 1] = 0.5
    for folder in folders:
        nibabel.save(nibabel.Nifti1Image(np.ones((3, 2, 2), np.uint8), sheared), folder / "y.nii.gz")
    with pytest.raises(UserError, match="overwrite_image_reader_writer"):
        evaluate(dice(), *folders, show_progress=False)
    chosen = DESCRIPTION | {"overwrite_image_reader_writer": "NibabelIO"}
    challenge = own_dataset(chosen, parse_metrics("dice"), count_both_empty=False)
    assert evaluate(challenge, *folders, show_progress=False).average["a dice"] == pytest.approx(2 / 3)


def test_processes_find_the_same(folders: tuple[Path, Path]) -> None:
    found = evaluate(dice(), *folders, processes=2, show_progress=False)
    assert found.scored == evaluate(dice(), *folders, show_progress=False).scored


def test_a_mistake_in_a_worker_is_one_line(folders: tuple[Path, Path]) -> None:
    write_map(folders[0] / "y.nii.gz", np.full((2, 1, 3), 7, np.uint8))
    with pytest.raises(UserError, match=r"y\.nii\.gz: expected labels 0, 1, 2, found 7"):
        evaluate(dice(), *folders, processes=2, show_progress=False)


def test_a_worker_that_is_killed(folders: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"with 2 processes, one was killed: .*Run it again with -np 1"):
        evaluate(KillingChallenge(**vars(dice())), *folders, processes=2, show_progress=False)
