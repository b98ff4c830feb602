"""The series of a folder are found whatever its files are called, and one is chosen."""

from __future__ import annotations

import logging
import shutil

import pydicom
import pytest
from dicom_series import asymmetric, write_series

from nnunet_ext.dicom.found_series import choose_series, find_series
from nnunet_ext.errors import UserError

SMALL = asymmetric()[:3, :4, :4]


def refused(*arguments) -> str:
    with pytest.raises(UserError) as caught:
        choose_series(*arguments, show_progress=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(folder, uid, description="Portal", **tags):
    return write_series(folder, SMALL, SeriesInstanceUID=uid, SeriesDescription=description, **tags)


def test_series_in_nested_folders_among_other_files(tmp_path, caplog):
    one = write(tmp_path / "DISK" / "0001", "1.2.10", "Portal")
    two = write(tmp_path / "DISK" / "0002", "1.2.9", "Scout", modality="MR")
    moved = tmp_path / "DISK" / "elsewhere"
    shutil.move(one[1], moved)
    (tmp_path / "DISK" / "0001" / "readme.txt").write_text("no DICOM " * 50)
    (tmp_path / "DISK" / "0001" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "DISK" / "0001" / ".nomedia").touch()
    (tmp_path / "VERSION").write_text("no DICOM " * 50)
    with caplog.at_level(logging.INFO, "nnunet_ext"):
        found = find_series(tmp_path, show_progress=False)
    hidden = tmp_path / "DISK" / "0001" / ".DS_Store"
    assert caplog.messages == [f"{tmp_path}: no DICOM: 4 files, such as {hidden}"]
    assert [(each.uid, each.description, each.modality, each.slices) for each in found] == [
        ("1.2.10", "Portal", "CT", 3),
        ("1.2.9", "Scout", "MR", 3),
    ]
    assert set(found[0].files) == {one[0], one[2], moved}
    assert set(found[1].files) == set(two)


def test_what_is_no_image(tmp_path):
    """Reports and segmentations of an earlier prediction are passed over."""
    files = write(tmp_path, "1.2.3")
    for file, (name, change) in zip(
        files,
        {
            "report": lambda dataset: delattr(dataset, "Rows"),
            "mask": lambda dataset: setattr(dataset, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.66.4"),
            "labels": lambda dataset: setattr(dataset, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.66.7"),
        }.items(),
        strict=True,
    ):
        dataset = pydicom.dcmread(file)
        change(dataset)
        dataset.SeriesInstanceUID = {"report": "1.2.4", "mask": "1.2.5", "labels": "1.2.6"}[name]
        dataset.Modality = "SEG" if name != "report" else "SR"
        dataset.save_as(tmp_path / name)
    assert [each.uid for each in find_series(tmp_path, show_progress=False)] == ["1.2.3"]
    for file in files:
        file.unlink()
    (tmp_path / "text").write_text("text")
    assert refused([tmp_path]) == (
        f"{tmp_path}: expected the DICOM files of a series of images, found other files (no DICOM: 1, SEG: 2, SR: 1). "
        f"Give the folder of an exported series."
    )


def test_no_folder(tmp_path):
    message = refused([tmp_path / "gone"])
    assert message == f"{tmp_path / 'gone'}: expected a folder with a DICOM series, found none. Correct the path."
    assert refused([tmp_path]).startswith(f"{tmp_path}: expected the DICOM files of a series of images, found no file.")


@pytest.mark.parametrize("size", [150, 200, 500])
def test_a_damaged_file(tmp_path, size):
    """It would be a slice that is missing."""
    files = write(tmp_path, "1.2.3")
    files[1].write_bytes(files[1].read_bytes()[:size])
    message = refused([tmp_path])
    assert message.startswith(f"{files[1]}: expected an intact DICOM file, ")
    assert message.endswith("Copy it again, or move it elsewhere.")


@pytest.mark.parametrize("suffix", ["", ".dcm", ".IMA", ".1.{}"])  # or a UID, which ends with another number each
@pytest.mark.parametrize("size", [0, 1, 100, 131])
def test_a_file_without_its_header(tmp_path, size, suffix):
    """It would be a slice that is missing, which nothing shows at an end of the series."""
    files = [file.rename(f"{file}{suffix.format(place)}") for place, file in enumerate(write(tmp_path, "1.2.3"))]
    files[2].write_bytes(files[2].read_bytes()[:size])
    found = f"{size} bytes without its header" if size else "no byte"
    assert refused([tmp_path]) == (
        f"{files[2]}: expected an intact DICOM file, found {found}. Copy it again, or move it elsewhere."
    )


@pytest.mark.parametrize("name", ["elsewhere/slice.dcm", "elsewhere/slice.IMA", "elsewhere/empty.txt"])
def test_a_file_that_is_called_like_a_slice_or_empty(tmp_path, name):
    write(tmp_path / "series", "1.2.3")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / name).write_text("" if name.endswith(".txt") else "text")
    assert refused([tmp_path]).startswith(f"{tmp_path / name}: expected an intact DICOM file, found ")


@pytest.mark.parametrize("skipped", [132, "meta"])
def test_dicom_without_a_preamble(tmp_path, skipped, caplog):
    """It stays in its series, with or without the group of the file's properties."""
    files = write(tmp_path, "1.2.3")
    content = files[2].read_bytes()
    start = content.index(b"\x08\x00\x08\x00CS") if skipped == "meta" else skipped
    files[2].write_bytes(content[start:])
    with caplog.at_level(logging.INFO, "nnunet_ext"):
        assert set(find_series(tmp_path, show_progress=False)[0].files) == set(files)
    assert caplog.messages == []
    files[2].write_bytes(content[start : start + 40])
    assert "expected an intact DICOM file, found 40 bytes without its header" in refused([tmp_path])


def test_a_file_that_ends_before_its_pixels(tmp_path):
    """It stays in its series, which is refused when it is read."""
    files = write(tmp_path, "1.2.3", change=lambda dataset, place: place == 2 and delattr(dataset, "Rows"))
    assert set(find_series(tmp_path, show_progress=False)[0].files) == set(files)


def test_a_directory_file(tmp_path):
    files = write(tmp_path, "1.2.3")
    dataset = pydicom.dcmread(files[2])
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    del dataset.SeriesInstanceUID
    dataset.save_as(tmp_path / "DICOMDIR")
    assert find_series(tmp_path, show_progress=False)[0].slices == 3


def test_several_series(tmp_path):
    write(tmp_path / "a", "1.2.3", "Portal")
    write(tmp_path / "b", "1.2.4", "Late", modality="MR")
    assert refused([tmp_path]) == (
        f"{tmp_path}: expected one series, found 2: 1.2.3 (CT, 'Portal', slices: 3); 1.2.4 (MR, 'Late', slices: 3). "
        f"Choose with --series UID."
    )
    chosen = choose_series([tmp_path], ["1.2.4"], show_progress=False)
    assert [each.uid for each in chosen] == ["1.2.4"]
    both = choose_series([tmp_path / "a", tmp_path / "b"], ["1.2.4", "1.2.3"], show_progress=False)
    assert [each.uid for each in both] == ["1.2.4", "1.2.3"]
    assert [each.uid for each in choose_series([tmp_path / "b", tmp_path / "a"], show_progress=False)] == [
        "1.2.4",
        "1.2.3",
    ]
    assert refused([tmp_path], ["1.2.5"]) == (
        f"--series 1.2.5: expected a series in {tmp_path}, found none of this UID. Did you mean '1.2.4'? Legal: 1.2.3, "
        f"1.2.4."
    )


def test_many_series(tmp_path):
    for number in range(10):
        write(tmp_path / str(number), f"1.2.{number}")
    message = refused([tmp_path])
    assert "found 10: 1.2.0 (CT" in message
    assert message.endswith("1.2.7 (CT, 'Portal', slices: 3) and 2 more. Choose with --series UID.")


def test_a_series_named_twice(tmp_path):
    write(tmp_path / "a", "1.2.3")
    for arguments in (([tmp_path, tmp_path / "a"],), ([tmp_path], ["1.2.3", "1.2.3"])):
        assert refused(*arguments) == "series 1.2.3: expected once, found twice. Name each series once."


def test_a_series_in_two_folders(tmp_path):
    """Each has a part of it, or a copy."""
    write(tmp_path / "a", "1.2.3")
    write(tmp_path / "b", "1.2.3")
    assert refused([tmp_path / "a", tmp_path / "b"], ["1.2.3"]) == (
        f"--series 1.2.3: expected its files in one folder, found some in {tmp_path / 'a'} and {tmp_path / 'b'}. Name "
        f"one of them, or put its files together."
    )


def test_frames_are_counted(tmp_path):
    write(tmp_path, "1.2.3", change=lambda dataset, _: setattr(dataset, "NumberOfFrames", 5))
    assert find_series(tmp_path, show_progress=False)[0].slices == 15


def test_a_bar(tmp_path, capsys):
    write(tmp_path, "1.2.3")
    find_series(tmp_path)
    assert "headers in " in capsys.readouterr().err
    find_series(tmp_path, show_progress=False)
    assert capsys.readouterr().err == ""
