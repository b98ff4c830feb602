"""The check of a dataset reads what has changed since it was last found sound, and nothing else."""

import os
import shutil
from pathlib import Path

import pytest
from spoiled_file import spoil

import nnunet_ext
from nnunet_ext.data.check_record import FILE, CheckRecord
from nnunet_ext.data.dataset_check import check_dataset
from nnunet_ext.errors import UserError
from nnunet_ext.phantoms.dataset import write_phantom_dataset


@pytest.fixture
def record(tmp_path: Path) -> CheckRecord:
    """Of a dataset of three cases that was checked."""
    (tmp_path / "preprocessed").mkdir()
    record = CheckRecord(tmp_path / "preprocessed")
    dataset = check_dataset(raw(record, write=True), record=record, show_progress=False)
    record.write(dataset.description, dataset.cases())
    return record


def raw(record: CheckRecord, *, write: bool = False) -> Path:
    root, name = record.folder.parent, "Dataset901_Sound"
    return write_phantom_dataset(root, name, cases=3, shape=(8, 12, 10)) if write else root / name


def unchecked(record: CheckRecord, **description: object) -> list[str]:
    dataset = check_dataset(raw(record), show_progress=False)
    return [case.name for case in record.unchecked(dataset.description | description, dataset.cases())]


def test_what_was_sound_is_not_read_again(record):
    assert unchecked(record) == []
    spoil(raw(record) / "imagesTr/case_001_0000.nii.gz")
    check_dataset(raw(record), record=record, show_progress=False)
    with pytest.raises(UserError, match="case_001"):
        check_dataset(raw(record), show_progress=False)


@pytest.mark.parametrize("folder", ["imagesTr/case_001_0000.nii.gz", "labelsTr/case_001.nii.gz"])
def test_a_file_that_has_changed_is_read(record, folder):
    file = raw(record) / folder
    spoil(file)
    os.utime(file)
    with pytest.raises(UserError, match="case_001"):
        check_dataset(raw(record), record=record, show_progress=False)


def test_a_file_that_was_only_touched_is_not_read(record):
    os.utime(raw(record) / "labelsTr/case_002.nii.gz")
    assert unchecked(record) == []


def test_a_new_case_is_read_and_then_recorded(record):
    place = raw(record)
    shutil.copy(place / "imagesTr/case_000_0000.nii.gz", place / "imagesTr/new_0000.nii.gz")
    shutil.copy(place / "labelsTr/case_000.nii.gz", place / "labelsTr/new.nii.gz")
    file = place / "dataset.json"
    file.write_text(file.read_text().replace('"numTraining": 3', '"numTraining": 4'))
    assert unchecked(record, numTraining=3) == ["new"]
    assert unchecked(record) == ["case_000", "case_001", "case_002", "new"]  # it is another dataset.json
    dataset = check_dataset(place, record=record, show_progress=False)
    record.write(dataset.description, dataset.cases())
    assert unchecked(record) == []


def test_other_labels_make_all_cases_unchecked(record):
    assert unchecked(record, labels={"background": 0}) == ["case_000", "case_001", "case_002"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"of": "another', None])
def test_without_a_record_all_is_read_and_it_is_written_anew(record, text):
    file = record.folder / FILE
    file.unlink() if text is None else file.write_text(text)
    assert unchecked(record) == ["case_000", "case_001", "case_002"]
    dataset = check_dataset(raw(record), record=record, show_progress=False)
    record.write(dataset.description, dataset.cases())
    assert unchecked(record) == []


def test_another_version_checks_again(record, monkeypatch):
    monkeypatch.setattr(nnunet_ext, "__version__", "0.0.0")
    assert len(unchecked(record)) == 3


def test_nothing_new_writes_nothing(record):
    before = (record.folder / FILE).stat().st_mtime_ns
    dataset = check_dataset(raw(record), record=record, show_progress=False)
    record.write(dataset.description, dataset.cases())
    assert (record.folder / FILE).stat().st_mtime_ns == before
