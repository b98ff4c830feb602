"""The files of raters: which case has whom, and what is refused in one line."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.labels.raters.raw_raters import are_exchangeable, check_raters, find_raters, has_raters, names_of
from nnunet_ext.phantoms.dataset import write_nifti, write_phantom_dataset
from nnunet_ext.phantoms.raters import write_phantom_raters

SPACING = (2.5, 1.0, 1.0)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = write_phantom_dataset(tmp_path, "Dataset007_P", cases=2, shape=(8, 16, 16), spacing=SPACING)
    write_phantom_raters(folder)
    return folder


def message(raw: Path) -> str:
    with pytest.raises(UserError) as caught:
        check_raters(raw, find_raters(raw), show_progress=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_cases_and_their_raters(raw):
    (raw / "labelsTr_raters" / "strict" / "case_001.nii.gz").unlink()
    first, second = find_raters(raw)
    assert list(first.maps) == ["exact", "generous", "strict"]
    assert list(second.maps) == ["exact", "generous"]
    assert first.maps["exact"] == raw / "labelsTr_raters" / "exact" / "case_000.nii.gz"
    assert second.label == raw / "labelsTr" / "case_001.nii.gz"
    assert names_of([first, second]) == ["exact", "generous", "strict"]
    assert has_raters(raw)
    check_raters(raw, [first, second], show_progress=False)


def test_labels_are_not_needed(raw):
    shutil.rmtree(raw / "labelsTr")
    assert [case.name for case in find_raters(raw)] == ["case_000", "case_001"]


def test_no_raters(raw):
    shutil.rmtree(raw / "labelsTr_raters")
    assert not has_raters(raw)
    assert "labelsTr_raters: expected a folder for each rater with files named CASE.nii.gz, found none" in message(raw)


def test_an_empty_rater(raw):
    (raw / "labelsTr_raters" / "zoe").mkdir()
    assert "zoe: expected label maps of rater 'zoe' named CASE.nii.gz, found none. Add them, or remove" in message(raw)


@pytest.mark.parametrize("name", ["a__b", "_a", "a_", "a b", "-a"])
def test_names_that_would_break_a_views_folder(raw, name):
    (raw / "labelsTr_raters" / "exact").rename(raw / "labelsTr_raters" / name)
    assert (
        f"expected a rater's name of letters, digits, '-', '.' and single '_' between them, found {name!r}"
        in message(raw)
    )


def test_a_file_beside_the_raters(raw):
    (raw / "labelsTr_raters" / "notes.txt").write_text("mine")
    assert "notes.txt: expected a rater's folder, found a file" in message(raw)


def test_a_case_that_does_not_exist(raw):
    place = raw / "labelsTr_raters" / "exact"
    shutil.copy(place / "case_000.nii.gz", place / "other.nii.gz")
    assert "other.nii.gz: expected the map of a training case, found one of 'other', of which Dataset007_P" in message(
        raw
    )


def test_another_grid(raw):
    write_nifti(raw / "labelsTr_raters" / "exact" / "case_000.nii.gz", np.zeros((8, 16, 15), np.uint8), SPACING)
    assert "exact/case_000.nii.gz: expected the shape (8, 16, 16) of case_000_0000.nii.gz, got (8, 16, 15)" in message(
        raw
    )
    write_nifti(raw / "labelsTr_raters" / "exact" / "case_000.nii.gz", np.zeros((8, 16, 16), np.uint8), (2.5, 1.0, 2.0))
    assert "expected the spacing (2.5, 1, 1) mm of case_000_0000.nii.gz, got (2.5, 1, 2)" in message(raw)
    assert "--no_check" not in message(raw)  # which commands about raters do not have


def test_a_map_with_another_ending(raw):
    place = raw / "labelsTr_raters" / "exact"
    (place / "notes.txt").write_text("mine")
    check_raters(raw, find_raters(raw), show_progress=False)
    (place / "case_001.nii.gz").rename(place / "case_001.nii")
    assert "case_001.nii: expected label maps of rater 'exact' named CASE.nii.gz, found another kind" in message(raw)


def test_an_unknown_label(raw):
    write_nifti(raw / "labelsTr_raters" / "exact" / "case_000.nii.gz", np.full((8, 16, 16), 9, np.uint8), SPACING)
    assert "expected the labels of dataset.json, 0 to 3, found 9" in message(raw)


def test_exchangeable():
    assert are_exchangeable({"raters": "exchangeable"})
    assert not are_exchangeable({})
