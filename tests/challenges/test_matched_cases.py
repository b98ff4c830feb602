"""Missing and extra cases are errors, unless somebody asks for something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_ext.challenges.kipa22 import kipa22
from nnunet_ext.challenges.kits21 import kits21
from nnunet_ext.challenges.matched_cases import MatchedCases, match_cases
from nnunet_ext.errors import UserError

pytestmark = pytest.mark.smoke


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Cases 1, 2, 3 are predicted, 2, 3, 4, 5 have references."""
    for folder, cases in (("predicted", "123"), ("truth", "2345")):
        (tmp_path / folder).mkdir()
        for case in cases:
            (tmp_path / folder / f"{case}.nii.gz").touch()
    (tmp_path / "truth" / "._2.nii.gz").touch()
    (tmp_path / "truth" / "dataset.json").touch()
    return tmp_path / "predicted", tmp_path / "truth"


def match(folders: tuple[Path, Path], missing: str, extra: str) -> MatchedCases:
    return match_cases(kipa22(), *folders, missing=missing, extra=extra)


def test_an_extra_case_is_an_error(folders: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"predicted/1\.nii\.gz: expected a case of .*truth, found '1'.*--extra skip"):
        match(folders, "skip", "error")


def test_missing_cases_are_an_error(folders: tuple[Path, Path]) -> None:
    with pytest.raises(
        UserError, match=r"predicted: expected a prediction of '4', found none \(and 1 more case\)\. Add"
    ):
        match(folders, "error", "skip")


def test_the_message_says_what_the_challenge_does(folders: tuple[Path, Path]) -> None:
    (folders[1] / "case_00007" / "segmentations").mkdir(parents=True)
    (folders[0] / "1.nii.gz").rename(folders[0] / "case_00001.nii.gz")
    with pytest.raises(UserError, match=r"or skip \(the challenge's code leaves them out: --missing skip\)\."):
        match_cases(kits21(), *folders, missing="error", extra="skip")


def test_missing_cases_are_left_out(folders: tuple[Path, Path]) -> None:
    found = match(folders, "skip", "skip")
    assert [case.name for case in found.cases] == ["2", "3"]
    assert [case.prediction for case in found.cases] == [folders[0] / "2.nii.gz", folders[0] / "3.nii.gz"]
    assert (found.missing, found.extra) == (("4", "5"), ("1",))


def test_missing_cases_count_as_worst(folders: tuple[Path, Path]) -> None:
    found = match(folders, "worst", "skip")
    assert [(case.name, case.prediction is None) for case in found.cases] == [
        ("2", False),
        ("3", False),
        ("4", True),
        ("5", True),
    ]


@pytest.mark.parametrize("missing", ["worst", "skip"])
def test_no_case_in_common(folders: tuple[Path, Path], missing: str) -> None:
    for case in "23":
        (folders[0] / f"{case}.nii.gz").unlink()
    with pytest.raises(UserError, match=r"expected predictions of the cases of .*truth, such as '2', found none"):
        match(folders, missing, "skip")


def test_an_empty_folder(folders: tuple[Path, Path]) -> None:
    for file in folders[0].iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"predicted: expected label maps CASE\.nii\.gz, found none"):
        match(folders, "worst", "skip")
